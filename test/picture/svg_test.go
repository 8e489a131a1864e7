package main

import (
	"encoding/xml"
	"errors"
	"html"
	"io"
	"os"
	"strings"
	"testing"
)

func TestScreen(t *testing.T) {
	s := &screen{}
	s.write("\x1b[?2004h\x1b[1mNAME\x1b[0m  \x1b[31;2mx<y\x1b[m\r\nabc\rA\tz\x1b[K\b!\r\n")
	got := string(s.svg())
	for _, want := range []string{
		`<text class="t b" x="18.0" y="58" textLength="33.6" xml:space="preserve">NAME</text>`,
		`<text class="t d c2" x="68.4" y="58" textLength="25.2" xml:space="preserve">x&lt;y</text>`,
		`>Abc     !</text>`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// The picture in the README is one of this session.
func TestPicture(t *testing.T) {
	text, err := os.ReadFile("session.svg")
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	plain := html.UnescapeString(string(text))
	for _, s := range session {
		for _, line := range append([]string{"# " + s.command}, s.typed...) {
			if !strings.Contains(plain, line+"</text>") {
				t.Errorf("no %q: go run ./test/picture draws it anew", line)
			}
		}
	}
}
