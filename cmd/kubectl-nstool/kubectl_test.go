package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// What a program writes to standard error comes through at once, and what kubectl says of its
// end does not.
func TestRemote(t *testing.T) {
	nstest.Need(t, "sh")
	three := exec.Command("sh", "-c", "exit 3").Run()
	for _, c := range []struct {
		in        []string
		err       error
		out, want string // want: the error
	}{
		{in: []string{"a\n", "b"}, out: "a\nb"},
		{in: []string{"a\ncommand terminated with exit code 3\n"}, err: three, out: "a\n", want: "exit status 3"},
		{in: []string{"comm", "and terminated with exit", " code 3\n"}, err: three, want: "exit status 3"},
		{in: []string{"comm", "a, and\n"}, out: "comma, and\n"},
		{in: []string{"x command terminated with exit code 3\n"}, err: three, out: "x command terminated with exit code 3\n", want: "kubectl: exit status 3"},
		{in: []string{"command terminated with exit code 3\nmore\n"}, out: "command terminated with exit code 3\nmore\n"},
		{in: []string{"command terminated with exit code 4\n"}, err: three, want: "kubectl: command terminated with exit code 4"},
		{in: []string{"error: lost connection to pod\n"}, err: three, want: "kubectl: lost connection to pod"},
		{in: []string{"error: of a program\n"}, out: "error: of a program\n"},
		{in: []string{"Error from server: x\n"}, out: "Error from server: x\n"},
		{in: []string{"comm"}, out: "comm"},
	} {
		var b bytes.Buffer
		r := &remote{w: &b}
		for _, s := range c.in {
			_, _ = io.WriteString(r, s)
		}
		err := r.end(c.err)
		if got := b.String(); got != c.out {
			t.Errorf("%q: wrote %q, want %q", c.in, got, c.out)
		}
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.in, err, c.want)
		}
	}
	var e exit
	if !errors.As((&remote{held: []byte("command terminated with exit code 3\n")}).end(three), &e) {
		t.Error("the status is lost")
	}
}
