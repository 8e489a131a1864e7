package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nstool/nstool/internal/nstest"
)

var update = flag.Bool("update", false, "rewrite the expected output in test/script")

func TestMain(m *testing.M) {
	testscript.Main(nstest.Checked(m), map[string]func(){
		"nstool":   main,
		"asuser":   asuser,
		"terminal": terminal,
	})
}

// TestScript runs what users type: test/script/*.txtar. Its README says which
// commands there are besides those of testscript.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../test/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NSTEST_MARK", os.Getenv("NSTEST_MARK"))
			env.Setenv("UID", strconv.Itoa(os.Geteuid()))
			env.Setenv("ZERO", "0")
			if nstest.Lacks("whole") != nil {
				env.Setenv("ZERO", "[?]")
			}
			env.Values["t"] = env.T()
			env.Values["boxes"] = map[string]*nstest.Box{}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			return nstest.Lacks(strings.TrimPrefix(cond, "need:")) == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"host":      host,
			"inflight":  inflight,
			"need":      need,
			"sandbox":   sandbox,
			"status":    exitStatus,
			"unsandbox": unsandbox,
		},
	})
}

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

// host NAME: a made-up host, from inspect/container/testdata/host/NAME.txtar.
// It sets $PROC.
func host(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: host NAME")
	}
	text, err := os.ReadFile("../../inspect/container/testdata/host/" + args[0] + ".txtar")
	ts.Check(err)
	ts.Setenv("PROC", nstest.MakeHost(ts.Value("t").(testing.TB), string(text)).Proc)
}

// inflight TYPE...: namespaces that nothing but a message holds. It sets
// $FLIGHT_net and so on.
func inflight(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: inflight TYPE...")
	}
	for _, typ := range args {
		ts.Setenv("FLIGHT_"+typ, strconv.FormatUint(nstest.InFlight(ts.Value("t").(testing.TB), typ), 10))
	}
}

// need NAME...: nstest.Need.
func need(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: need NAME...")
	}
	nstest.Need(ts.Value("t").(testing.TB), args...)
}

// status N PROGRAM [ARG...]: as exec, but the exit status is N, or the program
// dies of signal N-128.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			got = 128 + int(ws.Signal())
		}
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, not %d", got, want)
	}
}

// sandbox [-name NAME] [-nobody] [-root] [-thread TYPES] [-children TYPES]
// [-files TYPES] [-sockets] [-pins TYPES] [-hidden TYPES] [TYPE...]: an
// nstest.Spec. It sets $PID and $INO_net and so on.
func sandbox(ts *testscript.TestScript, neg bool, args []string) {
	var spec nstest.Spec
	var sockets bool
	flags := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	name := flags.String("name", "", "")
	flags.BoolVar(&spec.Nobody, "nobody", false, "")
	flags.BoolVar(&spec.Root, "root", false, "")
	flags.BoolVar(&sockets, "sockets", false, "")
	for word, list := range map[string]*[]string{
		"exec": &spec.Exec, "thread": &spec.Thread, "children": &spec.Children,
		"files": &spec.Files, "pins": &spec.Pins, "hidden": &spec.Hidden,
	} {
		flags.Func(word, "", func(s string) error {
			*list = strings.Split(s, ",")
			return nil
		})
	}
	ts.Check(flags.Parse(args))
	if sockets {
		spec.Sockets = []string{"net"}
	}
	spec.Types = flags.Args()
	boxes := ts.Value("boxes").(map[string]*nstest.Box)
	if neg || boxes[*name] != nil {
		ts.Fatalf("there is a sandbox %q already", *name)
	}
	box := spec.Start(ts.Value("t").(testing.TB))
	boxes[*name] = box
	suffix := ""
	if *name != "" {
		suffix = "_" + *name
	}
	set := func(key string, value any) { ts.Setenv(key+suffix, fmt.Sprint(value)) }
	set("PID", box.PID)
	set("TID", box.TID)
	for prefix, inos := range map[string]map[string]uint64{"INO": box.Ino, "THREAD": box.ThreadIno, "CHILDREN": box.ChildrenIno} {
		for typ, ino := range inos {
			set(prefix+"_"+typ, ino)
		}
	}
	for _, h := range box.Held {
		key := strings.ToUpper(h.Kind) + "_" + h.Type // FILE_net, SOCKET_net, PIN_uts
		if h.Kind == "pin" && h.Mnt != box.Ino["mnt"] {
			key = "HIDDEN_" + h.Type
		}
		set(key, h.Ino)
		set(key+"_FD", h.FD)
		set(key+"_PATH", h.Path)
		set(key+"_MNT", h.Mnt)
	}
}

// unsandbox [NAME]: ends a sandbox now, and not with the script.
func unsandbox(ts *testscript.TestScript, neg bool, args []string) {
	boxes := ts.Value("boxes").(map[string]*nstest.Box)
	name := strings.Join(args, " ")
	if neg || boxes[name] == nil {
		ts.Fatalf("there is no sandbox %q", name)
	}
	boxes[name].Close()
	delete(boxes, name)
}

// asuser PROGRAM [ARG...] becomes the program as an ordinary user, if it is run
// by root. The program is opened first: the user need not be able to reach it.
func asuser() {
	fatal := func(err error) {
		fmt.Fprintln(os.Stderr, "asuser:", err)
		os.Exit(99)
	}
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		fatal(err)
	}
	program, err := os.Open(path)
	if err != nil {
		fatal(err)
	}
	if os.Geteuid() == 0 {
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(nstest.Nobody), syscall.Setuid(nstest.Nobody))
		if err != nil {
			fatal(err)
		}
	}
	fatal(syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), os.Args[1:], os.Environ()))
}

// terminal COLSxROWS PROGRAM [ARG...] runs the program on a terminal of that
// size, types its standard input, and ends lines by "\n".
func terminal() {
	var cols, rows uint16
	if _, err := fmt.Sscanf(os.Args[1], "%dx%d", &cols, &rows); err != nil {
		fmt.Fprintln(os.Stderr, "terminal:", err)
		os.Exit(99)
	}
	var out strings.Builder
	err := nstest.RunOnTerminal(exec.Command(os.Args[2], os.Args[3:]...), cols, rows, os.Stdin, &out)
	fmt.Print(strings.ReplaceAll(out.String(), "\r\n", "\n"))
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "terminal:", err)
		os.Exit(99)
	}
}
