package entry

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// What nsenter, docker and kubectl have as well means what it means there, or is
// refused.
func TestPlain(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"-p 42 sh -c -it", "--target=42 -- sh -c -it"},
		{"-t 42 -n -- -x", "--target=42 --net -- -x"},
		{"-p42 -a", "--target=42 --all --"},
		{"-p42/43 -a", "--target=42/43 --all --"},
		{"-cweb sh", "--container=web -- sh"},
		{"-c=web sh", "--container=web -- sh"},
		{"-mnup 42 ip addr", "--mnt --net --uts --target=42 -- ip addr"},
		{"-nt web sh", "--net --target=web -- sh"},
		{"-n=netns:a true", "--net=netns:a -- true"},
		{"web", "--target=web --"},
		{"web sh -c x", "--target=web -- sh -c x"},
		{"-n web ip addr", "--net --target=web -- ip addr"},
		{"web -n ip addr", "--target=web --net -- ip addr"},
		{"web -n -- -x", "--target=web --net -- -x"},
		{"web -c db sh", "web names the target, and -c db another"},
		{"-- web", "-- web"},
		{"-n/proc/1/ns/net true", "--net=/proc/1/ns/net -- true"},
		{"--mount=/a -S1000 true", "--mnt=/a --setuid=1000 -- true"},
		{"--preserve -c web true", "--preserve-credentials --container=web -- true"},
		{"--targ web true", "--target=web -- true"},
		{"-e=A=B,C -e=D web true", "--env=A=B,C --env=D --target=web -- true"},
		{"-c web -e /x=y", "--container=web --env -- /x=y"},
		{"-p -- true", "-p takes a TARGET, and -- is a flag"},
		{"-it web sh", "unknown flag: -it"},
		{"-ti web sh", "unknown flag: -ti"},
		{"-nm -d -c web sh", "unknown flag: -d"},
		{"--rm -c web sh", "unknown flag: --rm"},
		{"-c web -u 1000 id", "-u 1000: the argument follows an equals sign"},
		{"-c web -u 1000:1000 id", "-u 1000:1000: the argument follows an equals sign"},
		{"-c web -w / pwd", "-w /: the argument follows an equals sign"},
		{"-c web -e A=B env", "-e A=B: the argument follows an equals sign"},
		{"-n -m -u -p -i -t 42", "-p takes a TARGET, and -i is a flag"},
		{"-t 42 -m -u -i -n -p sh", "-t 42 names the target, and -p sh another"},
		{"-c web -p 42", "-c web names the target, and -p 42 another"},
		{"--pod a/b -c web", "--pod a/b names the target, and -c web another"},
		{"-nmpi 42", `-nmpi: -p takes an argument, and "i" cannot be one`},
		{"-pn 42", `-pn: -p takes an argument, and "n" cannot be one`},
		{"-ntweb sh", `-ntweb: -t takes an argument, and "web" cannot be one`},
		{"-nq", "unknown shorthand flag: 'q' in -nq"},
		{"--new-u -p 1", "--new-u may be --new-uts or --new-user"},
		{"--neet -p 1", "unknown flag: --neet"},
		{"-p", "flag needs an argument: -p"},
		{"--target", "flag needs an argument: --target"},
	} {
		got, err := NewOptions().Plain(strings.Fields(c.words))
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%s: %s, not %s", c.words, text, c.want)
		}
		if again, err := NewOptions().Plain(got); got != nil && (err != nil || !slices.Equal(again, got)) {
			t.Errorf("%s: once more: %q, %v", c.words, again, err)
		}
	}
}

func TestMeant(t *testing.T) {
	for word, want := range map[string]string{
		"--neet": "--net is meant?", "--contaienr": "--container is meant?", "--pirvileged": "--privileged is meant?", "--x": "", "--nosuch": "",
		"-it": "leave it out: a terminal comes by itself; -c NAME is a container, -p TARGET anything else",
	} {
		_, err := NewOptions().Plain([]string{word})
		if e, ok := errors.AsType[*WordError](err); !ok || e.Advice != want {
			t.Errorf("%s: %#v", word, err)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"-p 42 sh", "-mnup 42 ip", "-it web", "-e=A=B", "--tar=x --", "-", "--=", "-n/x", "-=", "--pod a -c b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words := strings.Fields(s)
		plain, err := NewOptions().Plain(words)
		if err != nil {
			return
		}
		end := slices.Index(plain, "--")
		if end < 0 || !strings.HasSuffix(" "+strings.Join(words, " "), strings.Join(append([]string{""}, plain[end+1:]...), " ")) {
			t.Errorf("%q: %q", words, plain)
		}
		if again, err := NewOptions().Plain(plain); err != nil || !slices.Equal(again, plain) {
			t.Errorf("%q: %q, and then %q, %v", words, plain, again, err)
		}
	})
}
