package test

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that SECURITY.md names is there, in the package that it names or in
// test/attack: a promise whose test has gone is none.
func TestSecurityNamesTests(t *testing.T) {
	declared := regexp.MustCompile(`^func ((?:Test|Fuzz)\w+)\(`)
	tests := make(map[string][]string) // by name, the packages that have it
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if m := declared.FindStringSubmatch(line); m != nil {
				tests[m[1]] = append(tests[m[1]], strings.TrimPrefix(filepath.Dir(path), "../"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	word := regexp.MustCompile("`([-a-z/]+)`|((?:Test|Fuzz)[A-Z]\\w+)")
	named := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Split(lines.Text(), "|")
		if len(cells) < 4 {
			continue
		}
		pkg := "test/attack"
		for _, m := range word.FindAllStringSubmatch(cells[len(cells)-2], -1) {
			if m[1] != "" {
				pkg = m[1]
				continue
			}
			named++
			found := false
			for _, have := range tests[m[2]] {
				found = found || have == pkg
			}
			if !found {
				t.Errorf("SECURITY.md names %s in %s: it is in %v", m[2], pkg, tests[m[2]])
			}
		}
	}
	if named < 30 {
		t.Errorf("SECURITY.md names %d tests", named)
	}
}
