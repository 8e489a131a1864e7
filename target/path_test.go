package target

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct{ word, target, path string }{
		{"x", "", "x"},
		{"-", "", "-"},
		{"./a:b", "", "./a:b"},
		{".", "", "."},
		{"/a:b", "", "/a:b"},
		{"../web:/etc", "", "../web:/etc"},
		{"web:/etc/app.yaml", "web", "/etc/app.yaml"},
		{"web:etc/app.yaml", "web", "etc/app.yaml"},
		{"web:/a:b", "web", "/a:b"},
		{"web:a:b", "web", "a:b"},
		{"1234:/etc", "1234", "/etc"},
		{"1234/1235:/etc", "1234/1235", "/etc"},
		{"1234:5678:/etc", "1234:5678", "/etc"},
		{"1234:5678", "1234", "5678"},
		{"pid:1234:/etc", "pid:1234", "/etc"},
		{"pid:1234:56:/etc", "pid:1234:56", "/etc"},
		{"self:/etc", "self", "/etc"},
		{"container:web:/etc", "container:web", "/etc"},
		{"docker:web:/etc:x", "docker:web", "/etc:x"},
		{"podman@ann:web:/etc", "podman@ann:web", "/etc"},
		{"docker:kind > lxc:box:/etc", "docker:kind > lxc:box", "/etc"},
		{"container:docker:kind > shop/cart/app:/a > b", "container:docker:kind > shop/cart/app", "/a > b"},
		{"docker:/etc", "docker", "/etc"}, // a container that is called so
		{"pod:shop/cart:/etc", "pod:shop/cart", "/etc"},
		{"pod:shop/cart/app:etc", "pod:shop/cart/app", "etc"},
		{"shop/cart/app:/etc", "shop/cart/app", "/etc"},
		{"pin:web:/etc", "pin:web", "/etc"},
		{"pin:web/mnt:/etc", "pin:web/mnt", "/etc"},
		{"mnt:[4026532180]:/etc", "mnt:[4026532180]", "/etc"},
		{"4026532180:/etc", "4026532180", "/etc"},
		{"file:/run/nstool/web/mnt:/etc", "file:/run/nstool/web/mnt", "/etc"},
	} {
		p, err := ParsePath(c.word)
		if err != nil || p.Path != c.path || p.Ref.Text != c.target || p.Local != (c.target == "") {
			t.Errorf("%s: %+v, %v", c.word, p, err)
		}
	}
	for _, word := range []string{
		"", "web:", "docker:web", "docker:web:", "pod:cart:/etc", "pod:a/b", "mnt:[1]", ":/etc", "a\x00b", "web:/a\x00",
		"file:/run/x", "1234:", "99999999999999999999:/etc", "0:/etc",
	} {
		if p, err := ParsePath(word); err == nil {
			t.Errorf("%q: %+v", word, p)
		}
	}
}

// What is read is what was written: the target, a colon, the path.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"web:/etc", "pod:a/b/c:/x", "1:2:/x", "mnt:[4026532180]:x", "pid:1:2:/x", "./a:b", "docker:/x", "file:/a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		p, err := ParsePath(word)
		if err != nil {
			if err.Error() == "" {
				t.Error("no words")
			}
			return
		}
		if p.Local {
			if p.Path != word || word != "-" && word[0] != '/' && word[0] != '.' && strings.Contains(word, ":") {
				t.Errorf("%q: %+v", word, p)
			}
			return
		}
		if p.Ref.Text+":"+p.Path != word || p.Path == "" || p.Ref.Kind == 0 {
			t.Errorf("%q: %+v", word, p)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"web", "1234/5", "1:2", "net:[4026531840]", "pod:a/b/c", "pin:x/net", "nsid:5", "./x", "docker:web"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		ref, err := Parse(word)
		if err == nil && (ref.Text != word || ref.Kind == 0) {
			t.Errorf("%q: %+v", word, ref)
		}
	})
}
