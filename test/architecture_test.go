package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Who comes anew finds every room by name, and whatever is named is there.
func TestArchitecture(t *testing.T) {
	var packages, files []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if d.IsDir() && path != ".." && strings.HasPrefix(name, ".") {
			return fs.SkipDir
		}
		path = strings.TrimPrefix(path, "../")
		files = append(files, path)
		if dir := filepath.Dir(path); strings.HasSuffix(name, ".go") && !slices.Contains(packages, dir) {
			packages = append(packages, dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "../ARCHITECTURE.md")
	rooms := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(text, -1) {
		rooms[m[1]] = m[2]
		if !slices.Contains(packages, m[1]) {
			t.Errorf("ARCHITECTURE.md has a room %s, and there is no such package", m[1])
		}
	}
	for _, p := range packages {
		if in, ok := strings.CutPrefix(p, "test/"); ok {
			if first, _, _ := strings.Cut(in, "/"); !strings.Contains(rooms["test"], "`"+first+"`") {
				t.Errorf("ARCHITECTURE.md does not say what test/%s is", first)
			}
		} else if rooms[p] == "" {
			t.Errorf("ARCHITECTURE.md has no room %s", p)
		}
	}
	for _, page := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "test/script/README.md"} {
		for _, m := range regexp.MustCompile("`([a-zA-Z0-9_./*-]+\\.(go|s|txtar|c))`").FindAllStringSubmatch(read(t, "../"+page), -1) {
			pattern := strings.ReplaceAll(m[1], "NAME", "*")
			if !slices.ContainsFunc(files, func(file string) bool {
				if !strings.Contains(pattern, "/") {
					file = filepath.Base(file)
				}
				ok, err := filepath.Match(pattern, file)
				return ok && err == nil
			}) {
				t.Errorf("%s names %s, and there is no such file", page, m[1])
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
