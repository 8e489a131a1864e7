package engine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// imageName is what containerd.toml holds pods by, with the tag "latest".
const imageName = "localhost/nstool-test"

var loaded sync.Map // of load command and tag to func() error

// image loads an image into an engine, by its command, and returns its name.
// It stays there: the next test needs it again, and a container of it may be
// another test's.
func image(t testing.TB, tag string, load ...string) string {
	t.Helper()
	name := imageName + ":" + tag
	f, _ := loaded.LoadOrStore(strings.Join(load, " ")+" "+tag, sync.OnceValue(func() error {
		root, user := nstest.Busybox(t), ""
		if tag == "bare" {
			program, err := os.ReadFile(filepath.Join(root, "bin/busybox"))
			if err != nil {
				return err
			}
			root = nstest.Dir(t)
			if err := os.WriteFile(filepath.Join(root, "sleep"), program, 0o755); err != nil { //nolint:gosec // a program
				return err
			}
		}
		if tag == "server" {
			program, err := os.ReadFile(build(t, "server", "../engine/server"))
			if err != nil {
				return err
			}
			root, user = nstest.Dir(t), "65532:65532"
			if err := os.WriteFile(filepath.Join(root, "server"), program, 0o755); err != nil { //nolint:gosec // a program
				return err
			}
			for _, dir := range []string{"etc", "data"} {
				if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil { //nolint:gosec // of an image
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(root, "etc/app.yaml"), []byte("port: 8080\n"), 0o644); err != nil { //nolint:gosec // of an image
				return err
			}
		}
		archive := filepath.Join(nstest.Dir(t), "image.tar")
		if err := writeImage(archive, root, name, user); err != nil {
			return err
		}
		return run(load[0], append(load[1:], archive)...)
	}))
	if err := f.(func() error)(); err != nil {
		t.Fatalf("image %s: %v", name, err)
	}
	return name
}

// writeImage writes an archive as `docker save` does, of one layer with the
// files of root, whose programs are run by user. Every engine reads it.
func writeImage(path, root, name, user string) error {
	layer, err := tarOf(root)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"/bin/sleep", "100000"}, "User": user},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name string
		data []byte
	}{{"config.json", config}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

func tarOf(root string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link, data := "", []byte(nil)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			link, err = os.Readlink(path)
		case info.Mode().IsRegular():
			data, err = os.ReadFile(path)
		}
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(path, root+"/")
		if info.IsDir() {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out.Bytes(), w.Close()
}
