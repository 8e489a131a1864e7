package container

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// want is what the tests look for in a document, and what wanted finds.
type want struct {
	Name string            `json:"name"`
	PID  int               `json:"pid"`
	On   bool              `json:"on"`
	Tags map[string]string `json:"tags"`
	List []string          `json:"list"`
}

func wanted(text string) (w want, err error) {
	d := document{text: []byte(text)}
	for key := range d.object() {
		switch key {
		case "name":
			w.Name = d.string()
		case "pid":
			w.PID = d.int()
		case "on":
			w.On = d.bool()
		case "tags":
			for key := range d.object() {
				if w.Tags == nil {
					w.Tags = make(map[string]string)
				}
				w.Tags[key] = d.string()
			}
		case "list":
			w.List = nil
			for range d.array() {
				w.List = append(w.List, d.string())
			}
		}
	}
	return w, d.err
}

func TestDocument(t *testing.T) {
	for _, c := range []struct {
		text string
		name string
		pid  int
		bad  bool
	}{
		{text: `{}`},
		{text: `null`},
		{text: ` { "name" : "a" , "pid" : 7 } `, name: "a", pid: 7},
		{text: `{"x":{"name":"no","y":[1,{"z":"}"}]},"name":"a"}`, name: "a"},
		{text: `{"name":"a\"\\\n\u00e9\ud83d\ude00"}`, name: "a\"\\\né😀"},
		{text: `{"x":"\\","name":"a"}`, name: "a"},
		{text: `{"x":"\\\"","name":"a"}`, name: "a"},
		{text: `{"x":-1.5e+7,"pid":3}`, pid: 3},
		{text: `{"name":null,"pid":null,"tags":null,"list":null}`},
		{text: `{"tags":{"a":"b"},"list":["x","y"],"pid":1}`, pid: 1},
		{text: `{"name":"a"`, name: "a", bad: true},
		{text: `{"name":"a`, bad: true},
		{text: `{"name"`, bad: true},
		{text: `{"name":7}`, bad: true},
		{text: `{"pid":"7"}`, bad: true},
		{text: `{"pid":7.5}`, bad: true},
		{text: `{"pid":99999999999999999999}`, bad: true},
		{text: `{"name":"\ud83d"}`, name: "\ufffd"},
		{text: `{"name":"\q"}`, bad: true},
		{text: `{"x":[}`, bad: true},
		{text: `{"x":}`, bad: true},
		{text: `[]`, bad: true},
		{text: ``, bad: true},
		{text: "\x00\x00\x00", bad: true},
		{text: `{"x":` + strings.Repeat("[", 1<<16), bad: true},
	} {
		got, err := wanted(c.text)
		if (err != nil) != c.bad || !c.bad && (got.Name != c.name || got.PID != c.pid) {
			t.Errorf("%.80s: got %+v, %v", c.text, got, err)
		}
	}
}

// What encoding/json understands, a document understands too.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","pid":1,"on":true,"tags":{"a":"b"},"list":["a"]}`,
		`{"x":{"y":[1,2,"}"]},"name":"\u0041\ud83d\ude00"}`, `{"name":"a`, `null`, `{"pid":1e3}`, `{"on":falsey}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := wanted(text)
		if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
			return
		}
		// Go's decoder merges repeated keys and ignores case; both are left out here.
		var plain map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &plain) != nil {
			return
		}
		for key := range plain {
			if lower := strings.ToLower(key); lower != key || strings.Count(text, key) > 1 || strings.Contains(text, `\`) && key != "name" {
				return
			}
		}
		var reference want
		if json.Unmarshal([]byte(text), &reference) != nil {
			return
		}
		if err != nil || got.Name != reference.Name || got.PID != reference.PID || got.On != reference.On || len(got.Tags) != len(reference.Tags) || len(got.List) != len(reference.List) {
			t.Errorf("%q\n got %+v, %v\nwant %+v", text, got, err, reference)
		}
	})
}
