package many

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// said is an answer with this standard output.
func said(name, out string) Answer { return Answer{Name: name, Out: []byte(out)} }

func TestAsk(t *testing.T) {
	var now, most atomic.Int64
	var places []Place
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		places = append(places, Place{name, func(_ context.Context, out, stderr io.Writer) (int, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			_, _ = io.WriteString(out, "out "+name)
			_, _ = io.WriteString(stderr, "nstool: ls: err "+name+"\n")
			if name == "e" {
				return 0, errors.New("gone")
			}
			return 3, nil
		}})
	}
	got := Ask(t.Context(), places, Options{AtOnce: 2})
	if most.Load() > 2 {
		t.Errorf("%d at once", most.Load())
	}
	for i, a := range got {
		if name := places[i].Name; a.Name != name || string(a.Out) != "out "+name || (a.Failed != nil) != (name == "e") || a.Failed == nil && a.Status != 3 {
			t.Errorf("%+v", a)
		}
	}
	var b bytes.Buffer
	Say(&b, got[4:])
	if want := "nstool: e: ls: err e\nnstool: e: gone\nnstool: f: ls: err f\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	if f := Failed(got); len(f) != 1 || f[0] != "e" {
		t.Error(f)
	}
}

// A place that does not answer is left, and its command ended.
func TestAskTimeout(t *testing.T) {
	nstest.Need(t, "sh")
	run := func(script string) Place {
		return Place{script, func(ctx context.Context, out, stderr io.Writer) (int, error) {
			cmd := exec.Command("sh", "-c", script)
			cmd.Stdout, cmd.Stderr = out, stderr
			return Run(ctx, cmd)
		}}
	}
	var shown strings.Builder
	got := Ask(t.Context(), []Place{run("exec sleep 1000"), run("echo fine; exit 7")}, Options{Timeout: 3 * time.Second, Progress: &shown})
	if !strings.Contains(shown.String(), "1 of 2 have answered, waiting for exec sleep 1000 ...") || !strings.HasSuffix(shown.String(), "\r\x1b[K") {
		t.Errorf("%q", shown.String())
	}
	if got[0].Failed == nil || got[0].Failed.Error() != "no answer within 3s" {
		t.Errorf("%+v", got[0])
	}
	if got[1].Failed != nil || got[1].Status != 7 || string(got[1].Out) != "fine\n" {
		t.Errorf("%+v", got[1])
	}
}

// An answer without an end is cut off.
func TestAskEndless(t *testing.T) {
	got := Ask(t.Context(), []Place{{"a", func(_ context.Context, out, _ io.Writer) (int, error) {
		for {
			if n, _ := out.Write(make([]byte, 1<<20)); n == 0 {
				return 1, nil
			}
		}
	}}}, Options{})
	if got[0].Failed == nil || len(got[0].Out) > most {
		t.Error(got[0].Failed, len(got[0].Out))
	}
}

func TestTable(t *testing.T) {
	answers := []Answer{
		said("web1", "NS TYPE COMMAND\n4026531833 net /sbin/init\\x20x\n12 uts \\x2d\n"),
		{Name: "web2", Failed: errors.New("gone")},
		said("db", "NS CONTAINER TYPE COMMAND\n7 docker:a net -\n"),
		said("none", "NS TYPE COMMAND\n"),
		said("bad", "NS TYPE\n1 2 3\n"),
		said("evil", "NS TYPE COMMAND\n1 \x1b[31m \xff\\x1b\n"),
	}
	var b bytes.Buffer
	if err := Table(&b, "host", answers, Style{}); err != nil {
		t.Error(err)
	}
	want := `
HOST          NS  TYPE      COMMAND       CONTAINER
web1  4026531833  net       /sbin/init x  -
web1          12  uts       -             -
db             7  net       -             docker:a
evil           1  \x1b[31m  \xff\x1b      -
`[1:]
	if b.String() != want {
		t.Errorf("\n%s", b.String())
	}
	if answers[4].Failed == nil {
		t.Error("rows that have more cells than the heading are a table")
	}
	b.Reset()
	if err := Table(&b, "host", answers[:1], Style{Raw: true, NoHeader: true}); err != nil || b.String() != "web1 4026531833 net /sbin/init\\x20x\nweb1 12 uts \\x2d\n" {
		t.Errorf("%q %v", b.String(), err)
	}
	b.Reset()
	if err := Table(&b, "host", answers[:1], Style{Width: 30}); err != nil || !strings.Contains(b.String(), "…") {
		t.Errorf("%q %v", b.String(), err)
	}
	b.Reset()
	if err := Table(&b, "host", answers[1:2], Style{}); err != nil || b.Len() > 0 {
		t.Errorf("%q %v", b.String(), err)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	_ = Text(&b, []Answer{said("web1", "a\x1b\nb"), {Name: "web2", Failed: io.EOF}, said("web3", "c\n")})
	if want := "== web1\na\\x1b\nb\n\n== web3\nc\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	_ = Text(&b, []Answer{said("web1", "a\n")})
	if b.String() != "a\n" {
		t.Errorf("%q", b.String())
	}
}

func TestJSON(t *testing.T) {
	answers := []Answer{
		said("web1", `{"schema":"nstool/ls/3","complete":true,"reasons":[],"hostfs":"pid:1","namespaces":[
  {"ns":1,"type":"net"},
  {"ns":2,"type":"uts"}],"gaps":[]}`),
		said("web2", `{"schema":"nstool/ls/3","complete":false,"reasons":["no"],"hostfs":"pid:2","namespaces":[],"gaps":[{"what":"x","error":"`+"\u202e\u009b"+`"}]}`),
		{Name: "web3", Failed: errors.New("gone")},
		said("web4", `{"schema":"nstool/ls/4","complete":false,"namespaces":[]}`),
		said("web5", `{"schema":"nstool/ls/3","complete":true,"namespaces":["x",{"host":"web1","ns":3}]}`),
		said("web6", `oops`),
		{Name: "web8", Failed: ErrSilent, Err: []byte("Warning: x\nssh: connect: refused\r\n")},
		{Name: "web9", Status: 1, Err: []byte("nstool: ls: no container\n")},
		said("web7", `{"schema":"nstool/ls/3","complete":true} x`),
	}
	var b bytes.Buffer
	if err := JSON(&b, "host", answers); err != nil {
		t.Error(err)
	}
	want := `{"schema":"nstool/ls/3","complete":false,"reasons":["web2: no","web3: gone","web4: the answer has the form \"nstool/ls/4\", and others have \"nstool/ls/3\"","web5: the answer is no JSON of nstool","web6: the answer is no JSON of nstool","web8: ssh: connect: refused","web9: ls: no container","web7: the answer is no JSON of nstool"],"hostfs":null,"namespaces":[
  {"host":"web1","ns":1,"type":"net"},
  {"host":"web1","ns":2,"type":"uts"}],"gaps":[
  {"host":"web2","what":"x","error":"\u202e\u009b"},
  {"host":"web3","what":"host","error":"gone"},
  {"host":"web4","what":"host","error":"the answer has the form \"nstool/ls/4\", and others have \"nstool/ls/3\""},
  {"host":"web5","what":"host","error":"the answer is no JSON of nstool"},
  {"host":"web6","what":"host","error":"the answer is no JSON of nstool"},
  {"host":"web8","what":"host","error":"ssh: connect: refused"},
  {"host":"web9","what":"host","error":"ls: no container"},
  {"host":"web7","what":"host","error":"the answer is no JSON of nstool"}]}
`
	if b.String() != want {
		t.Errorf("\n%s", b.String())
	}
	if n := len(Failed(answers)); n != 6 {
		t.Errorf("%d have failed", n)
	}
	b.Reset()
	if err := JSON(&b, "host", answers[2:3]); err != nil || !json.Valid(b.Bytes()) {
		t.Error(err, b.String())
	}
}

// Whatever places say, the result is JSON in printable characters, and every row in it says
// where it is from.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"schema":"a","rows":[{"x":1},{}],"reasons":["\u001b"]}`), []byte(`{"schema":"a","rows":[{"x":{"y":[1]}}]}`))
	f.Add([]byte(`{"schema":"a","reasons":["\u007f"]}`), []byte(`{}`))
	f.Add([]byte(`{"schema":[{}],"":[null,[{"host":1}],"`+"\x7f\u009b\xff"+`"]}`), []byte(`{"schema":{}}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var out bytes.Buffer
		if err := JSON(&out, "host", []Answer{{Name: "a", Out: a}, {Name: "b", Out: b}}); err != nil {
			t.Fatal(err)
		}
		var all map[string]any
		if err := json.Unmarshal(out.Bytes(), &all); err != nil {
			t.Fatalf("%v: %q", err, out.String())
		}
		for _, v := range all {
			rows, _ := v.([]any)
			for _, row := range rows {
				if m, ok := row.(map[string]any); ok && m["host"] != "a" && m["host"] != "b" {
					t.Errorf("%v says not where it is from", m)
				}
			}
		}
		for _, r := range out.String() {
			if r < ' ' && r != '\n' && r != '\t' && r != '\r' || r >= 0x7f && r < 0xa0 {
				t.Errorf("%U in %q", r, out.String())
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add("A B\n1 2\n", "A C\n3 \\x2d\n")
	f.Add("A A\n1 \x1b\n", "\n \n")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, raw := range []bool{true, false} {
			var out bytes.Buffer
			answers := []Answer{said("a", a), said("b", b)}
			if err := Table(&out, "host", answers, Style{Raw: raw, NoHeader: true, Width: 40}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				if line[0] != 'a' && line[0] != 'b' {
					t.Errorf("%q says not where it is from", line)
				}
				if strings.ContainsAny(line, "\x1b\x00\r\t\x7f\u009b") {
					t.Errorf("%q", line)
				}
			}
		}
	})
}
