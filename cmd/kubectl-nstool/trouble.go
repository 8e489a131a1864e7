package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	forbidden   = regexp.MustCompile(`User "([^"]*)" cannot (\S+) resource "([^"]+)" in API group "[^"]*"(?: in the namespace "([^"]*)")?`)
	podSecurity = regexp.MustCompile(`violates PodSecurity "([^":]+)`)
	noSuch      = regexp.MustCompile(`\(NotFound\): (?:error when creating "[^"]*": )?(\S+) "([^"]*)" not found`)
	denied      = regexp.MustCompile(`\(Forbidden\): (?:error when creating "[^"]*": )?(.*)`)
)

// said returns what kubectl said, if that is why.
func said(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.text
	}
	return ""
}

// notFound reports whether there is no thing of that kind.
func notFound(err error, kind string) bool {
	m := noSuch.FindStringSubmatch(said(err))
	return m != nil && m[1] == kind
}

func isForbidden(err error) bool { return strings.Contains(said(err), "(Forbidden)") }

// explain returns why a call of kubectl failed, and what to ask for. It returns an error that it
// does not know unchanged, in the words of kubectl.
func (o *options) explain(err error) error {
	text := said(err)
	if m := forbidden.FindStringSubmatch(text); m != nil {
		where := "in the cluster"
		if m[4] != "" {
			where = "in the namespace " + m[4]
		}
		var ask string
		switch {
		case m[3] == "nodes":
			ask = "get and list on nodes"
		case m[2] == "get" && m[3] == "pods":
			ask = "get on pods"
		default:
			ask = "create, get, list, watch and delete on pods and get and create on pods/exec"
			where += ", or in that of --debug-namespace"
		}
		return fmt.Errorf("the user %s may not %s %s: ask for %s %s", m[1], m[2], m[3], ask, where)
	}
	if m := podSecurity.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("the namespace %s enforces PodSecurity %s, which forbids the debug pod: name one by --debug-namespace that is labelled pod-security.kubernetes.io/enforce=privileged", o.inWords(), m[1])
	}
	if m := noSuch.FindStringSubmatch(text); m != nil && m[1] == "namespaces" {
		return fmt.Errorf("there is no namespace %s", m[2])
	}
	if m := denied.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("the cluster forbids it: %s", m[1])
	}
	return err
}

// inWords names the namespace of debug pods.
func (o *options) inWords() string {
	if o.in == "" {
		return "of the kubeconfig"
	}
	return o.in
}
