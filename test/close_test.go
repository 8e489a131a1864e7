package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestClosedOnce looks for functions that close one number twice: by a defer and
// once more, or by a defer and by the file that it was given to. The second close
// is that of whatever another thread has opened meanwhile. What is closed early
// or given away is a [sys.FD], which knows that it has none any more.
func TestClosedOnce(t *testing.T) {
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				for _, twice := range closedTwice(f.Body) {
					t.Errorf("%s: %s is closed by a defer too: let a sys.FD own it", files.Position(twice.Pos()), text(twice))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// closedTwice returns what a function closes, or gives to a file, though a defer
// of it closes the same.
func closedTwice(body *ast.BlockStmt) (twice []ast.Expr) {
	deferred := make(map[string]bool)
	inDefer := make(map[*ast.CallExpr]bool)
	ast.Inspect(body, func(n ast.Node) bool {
		if d, ok := n.(*ast.DeferStmt); ok {
			inDefer[d.Call] = true
			for _, fd := range closes(d.Call) {
				deferred[text(fd)] = true
			}
		}
		return true
	})
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && !inDefer[call] {
			for _, fd := range append(closes(call), givenAway(call)...) {
				if deferred[text(fd)] {
					twice = append(twice, fd)
				}
			}
		}
		return true
	})
	return twice
}

// closes returns the numbers that a call closes.
func closes(call *ast.CallExpr) []ast.Expr {
	switch name := text(call.Fun); name {
	case "unix.Close", "syscall.Close", "sys.CloseFD", "CloseFD", "sys.CloseAll", "CloseAll":
		return call.Args
	}
	return nil
}

// givenAway returns the number that an os.File takes over.
func givenAway(call *ast.CallExpr) []ast.Expr {
	if text(call.Fun) != "os.NewFile" {
		return nil
	}
	if conv, ok := call.Args[0].(*ast.CallExpr); ok && len(conv.Args) == 1 {
		return conv.Args
	}
	return call.Args[:1]
}

// text is an expression as it is written, as far as numbers of descriptors go.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.BasicLit:
		return e.Value
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	case *ast.IndexExpr:
		return text(e.X) + "[" + text(e.Index) + "]"
	case *ast.CallExpr: // int(fd)
		if len(e.Args) == 1 && text(e.Fun) == "int" {
			return text(e.Args[0])
		}
	}
	return "?"
}
