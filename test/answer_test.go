package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// direct are the functions that open, or look at, a path without knowing whether
// what it is on answers.
var direct = map[string][]string{
	"os": {
		"Open", "OpenFile", "OpenRoot", "OpenInRoot", "DirFS", "ReadFile", "ReadDir", "Stat", "Lstat", "Create", "WriteFile",
		"Readlink", "Chdir", "Mkdir", "MkdirAll", "Remove", "RemoveAll", "Rename",
	},
	"filepath": {"EvalSymlinks", "Walk", "WalkDir", "Glob"},
	"exec":     {"LookPath"},
	"sys":      {"OpenInRoot"},
}

// allowed says where they may be called, and why.
var allowed = map[string]string{
	"enter/make.go":                "maps of users, in procfs",
	"inspect/busy.go":              "procfs and sysfs",
	"inspect/container/owner.go":   "procfs",
	"enter/confine.go":             "procfs",
	"inspect/host.go":              "procfs",
	"inspect/mounted.go":           "procfs",
	"inspect/whole.go":             "procfs",
	"inspect/network/network.go":   "procfs",
	"inspect/network/protocols.go": "procfs",
	"internal/doctor/cleanup.go":   "procfs",
	"internal/doctor/doctor.go":    "procfs",
	"internal/doctor/read.go":      "procfs",
	"internal/entry/make.go":       "procfs",
	"internal/entry/pin.go":        "procfs",
	"internal/kernels/kernels.go":  "procfs",
	"target/resolve.go":            "procfs",
	"internal/wait/patience.go":    "procfs",
	"pin/others.go":                "procfs",
	"cmd/kubectl-nstool/cp.go":     "files of the caller's own computer",
	"cmd/nstool/bring.go":          "procfs",
	"cmd/nstool/cp.go":             "cp runs in a process apart",
	"internal/copy/far.go":         "cp runs in a process apart",
	"internal/copy/place.go":       "cp runs in a process apart",
	"internal/copy/reader.go":      "cp runs in a process apart",
	"internal/forward/unix.go":     "forward runs in a process apart",
	"internal/unpack/unpack.go":    "what the caller names, and has answered; and a directory of our own",
}

// TestAnswers looks for files that are opened past internal/sys, which knows what to
// do about a file system that does not answer: a thread that waits for one cannot
// be ended, nor can its process.
func TestAnswers(t *testing.T) {
	files := token.NewFileSet()
	used := make(map[string]bool)
	for _, dir := range []string{"cmd", "enter", "inspect", "internal", "output", "pin", "target"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
				strings.HasPrefix(name, "internal/sys/") || strings.HasPrefix(name, "internal/nstest/") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := call.X.(*ast.Ident); ok && slices.Contains(direct[pkg.Name], call.Sel.Name) {
					used[name] = true
					if allowed[name] == "" {
						t.Errorf("%s: %s.%s may wait for ever: internal/sys has what does not", files.Position(n.Pos()), pkg.Name, call.Sel.Name)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range allowed {
		if !used[name] {
			t.Errorf("%s needs no exception", name)
		}
	}
}
