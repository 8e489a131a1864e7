package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// Two people who have the same commit get the same image, each in a directory of
// their own and at another time.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nstool four times")
	}
	nstest.Need(t, "go")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var archives [2][]byte
	for i := range archives {
		dir := filepath.Join(nstest.Dir(t), "src")
		if err := os.CopyFS(dir, os.DirFS("../..")); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GOFLAGS", []string{"", "-tags=nothing"}[i]) // what one of them has
		out := filepath.Join(dir, "nstool.tar")
		if err := run(dir, out, "nstool:1", []string{"amd64", "arm64"}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		archives[i] = data
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Errorf("%s and %s: not the same bytes", sum(archives[0]), sum(archives[1]))
	}
	var index struct{ Manifests []descriptor }
	files := readArchive(t, archives[0])
	read(t, files, "index.json", &index)
	read(t, files, blobPath(index.Manifests[0].Digest), &index)
	if len(index.Manifests) != 2 {
		t.Fatalf("an image for %d platforms", len(index.Manifests))
	}
	for i, machine := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
		layer, labels := imageOf(t, files, index.Manifests[i])
		if len(layer) != 1 {
			t.Errorf("%d files are in it", len(layer))
		}
		f, err := elf.NewFile(bytes.NewReader(layer["nstool"]))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine {
			t.Errorf("%s has a program for %v", index.Manifests[i].Platform.Architecture, f.Machine)
		}
		if got := labels["org.opencontainers.image.created"]; got != "2023-11-14T22:13:20Z" {
			t.Errorf("created %q", got)
		}
		if labels["org.opencontainers.image.version"] == "" {
			t.Errorf("it tells no version: %v", labels)
		}
	}
}

// Every digest and size is that of what it names, and `docker save`'s form names
// the same blobs as that of OCI.
func TestWrite(t *testing.T) {
	at := time.Unix(1700000000, 0).UTC()
	data, digest, err := write("localhost/nstool:1", []program{
		{arch: "amd64", data: []byte("one"), version: "v1.2.3", revision: "cafe", created: at},
		{arch: "arm64", data: []byte("two"), version: "v1.2.3", revision: "cafe", created: at},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := readArchive(t, data)
	for name, data := range files {
		if hash, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && sum(data) != "sha256:"+hash {
			t.Errorf("%s is %s", name, sum(data))
		}
	}
	var top, index struct{ Manifests []descriptor }
	read(t, files, "index.json", &top)
	if d := top.Manifests[0]; d.Digest != digest || d.Size != len(files[blobPath(digest)]) || d.Annotations["io.containerd.image.name"] != "localhost/nstool:1" || d.Annotations["org.opencontainers.image.ref.name"] != "1" {
		t.Errorf("index.json has %+v", d)
	}
	read(t, files, blobPath(digest), &index)
	var legacy []struct {
		Config           string
		RepoTags, Layers []string
	}
	read(t, files, "manifest.json", &legacy)
	for i, want := range []string{"one", "two"} {
		layer, labels := imageOf(t, files, index.Manifests[i])
		if got := string(layer["nstool"]); got != want {
			t.Errorf("/nstool is %q", got)
		}
		if labels["org.opencontainers.image.revision"] != "cafe" || labels["org.opencontainers.image.licenses"] != "Apache-2.0" {
			t.Errorf("labels %v", labels)
		}
		var m struct {
			Config descriptor
			Layers []descriptor
		}
		read(t, files, blobPath(index.Manifests[i].Digest), &m)
		if l := legacy[i]; l.Config != blobPath(m.Config.Digest) || l.Layers[0] != blobPath(m.Layers[0].Digest) || l.RepoTags[0] != []string{"localhost/nstool:1", "localhost/nstool:1-arm64"}[i] {
			t.Errorf("manifest.json has %+v", l)
		}
	}
}

func TestFullName(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"nstool", "docker.io/library/nstool:latest"},
		{"nstool:1", "docker.io/library/nstool:1"},
		{"me/nstool", "docker.io/me/nstool:latest"},
		{"localhost/nstool:1", "localhost/nstool:1"},
		{"registry:5000/a/b", "registry:5000/a/b:latest"},
		{"ghcr.io/nstool/nstool:v1.2.3-rc.1", "ghcr.io/nstool/nstool:v1.2.3-rc.1"},
		{"", ""},
		{"Nstool", ""},
		{"nstool:", ""},
		{"nstool:v1+dirty", ""},
		{"a//b", ""},
		{"nstool@sha256:00", ""},
	} {
		if got, err := fullName(c.name); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v", c.name, got, err)
		}
	}
}

// What is refused is refused before anything is built or written.
func TestRefused(t *testing.T) {
	out := filepath.Join(nstest.Dir(t), "nstool.tar")
	for _, archs := range [][]string{{""}, {"", "amd64"}} {
		if err := run("../..", out, "nstool", archs); err == nil || !strings.Contains(err.Error(), "bad list of architectures") {
			t.Errorf("%q: %v", archs, err)
		}
	}
	if err := run("../..", out, "no name", []string{"amd64"}); err == nil {
		t.Error("it takes any name")
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("it has written a file")
	}
}

// imageOf returns the files of the one layer of an image, and its labels.
func imageOf(t *testing.T, files map[string][]byte, d descriptor) (layer map[string][]byte, labels map[string]string) {
	t.Helper()
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(t, files, blobPath(d.Digest), &manifest)
	var config struct {
		Architecture string
		Config       struct{ Labels map[string]string }
		RootFS       struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(t, files, blobPath(manifest.Config.Digest), &config)
	if config.Architecture != d.Platform.Architecture {
		t.Errorf("%s in the index, %s in the configuration", d.Platform.Architecture, config.Architecture)
	}
	packed := files[blobPath(manifest.Layers[0].Digest)]
	if len(packed) != manifest.Layers[0].Size {
		t.Errorf("a layer of %d bytes, by the manifest %d", len(packed), manifest.Layers[0].Size)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if sum(plain) != config.RootFS.DiffIDs[0] {
		t.Errorf("the layer is %s, by the configuration %s", sum(plain), config.RootFS.DiffIDs[0])
	}
	return readArchive(t, plain), config.Config.Labels
}

func readArchive(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, files map[string][]byte, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(files[name], v); err != nil {
		t.Fatalf("%s: %v: %q", name, err, files[name])
	}
}
