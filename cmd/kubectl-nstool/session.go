package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// A session is a debug pod on a node.
type session struct {
	o     *options
	node  string
	name  string
	until time.Time // its deadline
}

// caller is the label of debug pods with a hash of who made them.
const caller = "nstool-caller"

// callerOf returns the value of the label: a hash of the user of the cluster and of the user of this
// computer. Two callers must have both in common to remove each other's pods.
func (o *options) callerOf(ctx context.Context) (string, error) {
	var who struct {
		Status struct{ UserInfo struct{ Username string } }
	}
	err := o.ask(ctx, &who, "auth", "whoami", "-o", "json")
	if err != nil && !strings.Contains(said(err), "the server could not find") && !strings.Contains(said(err), "not enabled") && !isForbidden(err) {
		return "", o.explain(err)
	}
	host, _ := os.Hostname()
	home, _ := os.UserHomeDir()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", who.Status.UserInfo.Username, host, home, os.Getuid()))
	return fmt.Sprintf("%x", sum[:10]), nil
}

// manifest returns the debug pod, as --profile=sysadmin of kubectl debug makes it.
func (s *session) manifest(by string) []byte {
	type m = map[string]any
	var env []m
	for _, name := range []string{"TERM", "NO_COLOR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, m{"name": name, "value": v})
		}
	}
	data, err := json.Marshal(m{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": m{
			"name":   s.name,
			"labels": m{"app.kubernetes.io/name": "nstool", "app.kubernetes.io/managed-by": "kubectl-nstool", caller: by},
		},
		"spec": m{
			"nodeName": s.node, "hostPID": true, "hostNetwork": true, "hostIPC": true,
			"restartPolicy": "Never", "activeDeadlineSeconds": int(s.o.deadline.Seconds()), "terminationGracePeriodSeconds": 1,
			"automountServiceAccountToken": false, "enableServiceLinks": false,
			"tolerations": []m{{"operator": "Exists"}},
			"volumes":     []m{{"name": "host", "hostPath": m{"path": "/"}}},
			"containers": []m{{
				"name": "nstool", "image": s.o.image, "imagePullPolicy": "IfNotPresent", "command": []string{"nstool", "pause"}, "env": env,
				"securityContext": m{"privileged": true},
				"volumeMounts":    []m{{"name": "host", "mountPath": "/host"}},
			}},
		},
	})
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return data
}

// inDebug returns words for kubectl with the namespace of debug pods.
func (o *options) inDebug(args ...string) []string {
	if o.in != "" {
		args = append(args, "--namespace="+o.in)
	}
	return args
}

// with makes a debug pod on a node, calls do with it, and removes it.
func (o *options) with(ctx context.Context, node, by string, do func(*session) error) (err error) {
	s := &session{o: o, node: node, name: fmt.Sprintf("nstool-%x", random(6)), until: time.Now().Add(o.deadline)}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	defer func() {
		if e := s.remove(); e != nil && err == nil {
			err = e
		}
	}()
	if err := o.tell(bytes.NewReader(s.manifest(by)), o.inDebug("create", "-f", "-")...); err != nil {
		return o.explain(err)
	}
	if err := s.await(ctx); err != nil {
		return err
	}
	return do(s)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

// persistence is how long the removal of a pod is tried, while the connection is broken.
var persistence = 10 * time.Second

// remove removes the pod, if there is one.
func (s *session) remove() error {
	var err error
	for end := time.Now().Add(persistence); ; time.Sleep(time.Second / 2) {
		err = s.o.tell(nil, s.o.inDebug("delete", "pod", s.name, "--ignore-not-found", "--wait=false")...)
		if err == nil {
			return nil
		}
		if isForbidden(err) || time.Now().After(end) {
			break
		}
	}
	say("the debug pod %s on %s could not be removed: %v; it ends at %s at the latest, and kubectl nstool clean removes it then",
		s.name, s.node, s.o.explain(err), s.until.Format("15:04:05"))
	return exit(statusFailed)
}

// await waits until the pod runs.
func (s *session) await(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, s.o.timeout)
	defer cancel()
	state := "nothing is known of it"
	err := s.follow(wait, func(p *pod) (runs bool, err error) {
		runs, state, err = s.judge(p)
		return runs, err
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && wait.Err() != nil:
		return fmt.Errorf("the debug pod on %s does not run after %v: %s", s.node, s.o.timeout, state)
	}
	return err
}

// watch waits until the pod has ended, and returns why.
func (s *session) watch(ctx context.Context) error {
	for {
		err := s.follow(ctx, func(p *pod) (bool, error) {
			_, _, err := s.judge(p)
			return false, err
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, errWatch) { // else kubectl watches for half an hour at a time
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// errWatch is the end of a watch without an answer.
var errWatch = errors.New("kubectl does not watch it any more")

// follow calls done with each state of the pod, until that is true or an error.
func (s *session) follow(ctx context.Context, done func(*pod) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := s.o.kubectl(ctx, s.o.inDebug("get", "pod", s.name, "--watch", "-o", "json")...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return failed(err, "")
	}
	for read := json.NewDecoder(out); ; {
		var p pod
		if read.Decode(&p) != nil {
			break
		}
		if ok, err := done(&p); ok || err != nil {
			cancel()
			_ = cmd.Wait()
			return err
		}
	}
	err = cmd.Wait()
	switch {
	case err == nil:
		return errWatch
	case notFound(failed(err, errs.String()), "pods"):
		return s.wasRemoved()
	}
	return s.o.explain(failed(err, errs.String()))
}

func (s *session) wasRemoved() error {
	return fmt.Errorf("the debug pod %s on %s was removed by somebody else", s.name, s.node)
}

// judge reports whether the pod runs, or what it waits for; an error is that it never will.
func (s *session) judge(p *pod) (runs bool, state string, err error) {
	state = p.Status.Phase
	for _, c := range p.Status.ContainerStatuses {
		switch w, t := c.State.Waiting, c.State.Terminated; {
		case t != nil && strings.Contains(t.Message, "executable file not found"):
			return false, "", fmt.Errorf("the image %s has no nstool in its PATH: name one by --image or NSTOOL_IMAGE", s.o.image)
		case t != nil && p.Status.Reason == "":
			return false, "", fmt.Errorf("the debug pod on %s has ended: %s", s.node, cmp.Or(t.Message, fmt.Sprintf("%s, exit status %d", t.Reason, t.ExitCode)))
		case w == nil:
		case strings.Contains(w.Message, "executable file not found"):
			return false, "", fmt.Errorf("the image %s has no nstool in its PATH: name one by --image or NSTOOL_IMAGE", s.o.image)
		case strings.HasPrefix(w.Reason, "ErrImage"), strings.HasPrefix(w.Reason, "ImagePull"), w.Reason == "InvalidImageName", w.Reason == "ImageInspectError", w.Reason == "RegistryUnavailable":
			return false, "", fmt.Errorf("the node %s cannot pull the image %s: name one that it can by --image or NSTOOL_IMAGE (%s)", s.node, s.o.image, cmp.Or(w.Message, w.Reason))
		case strings.HasSuffix(w.Reason, "Error"):
			return false, "", fmt.Errorf("the debug pod on %s cannot start: %s", s.node, cmp.Or(w.Message, w.Reason))
		default:
			state = cmp.Or(w.Message, w.Reason)
		}
		runs = c.State.Running != nil
	}
	switch {
	case p.Metadata.DeletionTimestamp != nil:
		return false, "", s.wasRemoved()
	case p.Status.Phase == "Failed" || p.Status.Phase == "Succeeded":
		return false, "", s.ended(p)
	}
	return runs, state, nil
}

// ended says why the pod has ended.
func (s *session) ended(p *pod) error {
	if p.Status.Reason == "DeadlineExceeded" {
		return s.late()
	}
	return fmt.Errorf("the node %s has ended the debug pod: %s", s.node, cmp.Or(p.Status.Message, p.Status.Reason, p.Status.Phase))
}

func (s *session) late() error {
	return fmt.Errorf("the debug pod on %s reached its deadline of %v: --deadline sets another", s.node, s.o.deadline)
}

// broken says why a program in the pod ended, if that was not its own doing.
func (s *session) broken(why error) error {
	if time.Now().After(s.until) { // the pod may not say so yet
		return s.late()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var p pod
	err := s.o.ask(ctx, &p, s.o.inDebug("get", "pod", s.name, "-o", "json")...)
	switch {
	case notFound(err, "pods"), err == nil && p.Metadata.DeletionTimestamp != nil:
		return s.wasRemoved()
	case err == nil && (p.Status.Phase == "Failed" || p.Status.Phase == "Succeeded"):
		return s.ended(&p)
	case isForbidden(why):
		return s.o.explain(why)
	}
	if _, ok := errors.AsType[exit](why); ok {
		return why
	}
	return fmt.Errorf("the connection to the debug pod on %s broke: %w", s.node, why)
}

// clean removes the ended debug pods of the caller.
func (o *options) clean(ctx context.Context, by string) (removed []string, err error) {
	const ended = "--field-selector=status.phase!=Running,status.phase!=Pending,status.phase!=Unknown"
	args := []string{"delete", "pods", "-l", caller + "=" + by, ended, "--wait=false", "--ignore-not-found", "-o", "name"}
	if o.command == "clean" && o.all {
		args = append(args, "--all-namespaces")
	} else {
		args = o.inDebug(args...)
	}
	out, err := answerOf(o.kubectl(ctx, args...))
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "pod/") { // another line is that there are none
			removed = append(removed, strings.TrimSpace(line))
		}
	}
	return removed, err
}

// cleanMeanwhile removes what earlier sessions left, beside other work. Failure is for clean.
func (o *options) cleanMeanwhile(ctx context.Context, by string) (wait func()) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, patience)
	wg.Go(func() { _, _ = o.clean(ctx, by) })
	return func() { wg.Wait(); cancel() }
}
