package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) {
	testscript.Main(nstest.Checked(m), map[string]func(){
		"kubectl-nstool": func() { persistence = time.Second; main() },
		"kubectl":        kubectl,
	})
}

// TestScript runs what users type with a kubectl that answers from files, and writes its
// arguments to "calls". The real one is for test/kubernetes.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NSTEST_MARK", os.Getenv("NSTEST_MARK"))
			env.Setenv("FAKE", filepath.Join(env.WorkDir, "kube"))
			return os.CopyFS(filepath.Join(env.WorkDir, "kube"), os.DirFS("testdata/kube"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if err = ts.Exec(args[1], args[2:]...); status(err) != want {
					ts.Fatalf("%q: %v, want status %d", args[1:], err, want)
				}
			},
			"signal": send,
		},
	})
}

func status(err error) int {
	if e, ok := err.(interface{ ExitCode() int }); ok {
		return e.ExitCode()
	}
	return 0
}

// kubectl answers a call from the file for it, such as kube/get-pod: the standard output. A
// file kube/get-pod.err has standard error, and status 1. exec has the status in exec.status.
// What a watch answers stays open. A call waits for the signal of its file .wait. Without a file, exec writes the words of the program.
func kubectl() {
	var words []string
	for _, w := range os.Args[1:] {
		if !strings.HasPrefix(w, "-") {
			words = append(words, w)
		}
	}
	dir, line := os.Getenv("FAKE"), strings.Join(os.Args[1:], " ")
	calls, err := os.OpenFile(dir+"/calls", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(calls, line)
	}
	if err != nil {
		panic(err)
	}
	key := words[0]
	if key == "get" || key == "delete" {
		key += "-" + words[1]
	}
	if strings.Contains(line, "--watch") {
		key = "watch"
	}
	if key == "create" {
		in, _ := io.ReadAll(os.Stdin)
		_ = os.WriteFile(dir+"/manifest", in, 0o600)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	out, err := os.ReadFile(filepath.Join(dir, key))
	_, _ = os.Stdout.Write(out)
	if _, err := os.Stat(filepath.Join(dir, key+".wait")); err == nil {
		_ = os.WriteFile(dir+"/waits", nil, 0o600)
		<-signals
		os.Exit(1)
	}
	if errs, err := os.ReadFile(filepath.Join(dir, key+".err")); err == nil {
		_, _ = os.Stderr.Write(errs)
		os.Exit(1)
	}
	switch key {
	case "watch":
		<-signals
	case "exec":
		if _, program, _ := strings.Cut(line, " -- "); err != nil {
			fmt.Println(program)
		}
		if strings.Contains(line, " -i ") {
			_, _ = io.Copy(os.Stdout, os.Stdin)
		}
		if n, err := os.ReadFile(dir + "/exec.status"); err == nil {
			code, _ := strconv.Atoi(strings.TrimSpace(string(n)))
			fmt.Fprintf(os.Stderr, "of the program\ncommand terminated with exit code %d\n", code)
			os.Exit(code)
		}
	}
	os.Exit(0)
}

// signal NUMBER NAME waits until a call of kubectl waits, and sends the signal to the command
// of that name in the background.
func send(ts *testscript.TestScript, _ bool, args []string) {
	for {
		if _, err := os.Stat(ts.MkAbs("kube/waits")); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	ts.Check(os.Remove(ts.MkAbs("kube/waits")))
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, c := range ts.BackgroundCmds() {
		if strings.HasSuffix(c.Path, args[1]) {
			ts.Check(c.Process.Signal(syscall.Signal(n)))
		}
	}
}
