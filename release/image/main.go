// Image writes nstool as a container image, without an engine and without a
// registry:
//
//	go run ./release/image -o nstool.tar
//	docker load -i nstool.tar
//
// The image has one file, /nstool, for each architecture. The archive is an OCI
// layout and what `docker save` writes at once, so that docker, podman, containerd,
// skopeo and crane read it. The same commit and the same Go make the same bytes,
// wherever and whenever; SOURCE_DATE_EPOCH overrides the time of the commit.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	out := flag.String("o", "nstool.tar", "the `FILE` to write")
	name := flag.String("t", "nstool:latest", "the `NAME` of the image, with its registry and tag; Kubernetes never looks on the node for \"latest\"")
	archs := flag.String("arch", "amd64,arm64", "the architectures; what cannot read an index loads the first by that name")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(".", *out, *name, strings.Split(*archs, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run makes the image of the module in dir.
func run(dir, out, name string, archs []string) error {
	name, err := fullName(name)
	if err != nil {
		return err
	}
	var programs []program
	for i, arch := range archs {
		if arch == "" || slices.Contains(archs[:i], arch) {
			return fmt.Errorf("bad list of architectures %q", archs)
		}
		p, err := build(dir, arch)
		if err != nil {
			return fmt.Errorf("build for %s: %w", arch, err)
		}
		programs = append(programs, p)
	}
	archive, digest, err := write(name, programs)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, archive, 0o644); err != nil { //nolint:gosec // an image is for everybody
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %s@%s, %s for %s\n", out, name, digest, programs[0].version, strings.Join(archs, " and "))
	return nil
}

// A program is nstool for one architecture, and what it says of itself.
type program struct {
	arch              string
	data              []byte
	version, revision string
	created           time.Time // SOURCE_DATE_EPOCH, else the time of the commit, else 1970
}

// build builds the program of the module in dir. What the environment says of
// builds is left out: it would be seen in the bytes.
func build(dir, arch string) (program, error) {
	p := program{arch: arch, created: time.Unix(0, 0).UTC()}
	tmp, err := os.MkdirTemp("", "nstool-image-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // nothing is lost
	file := filepath.Join(tmp, "nstool")
	cmd := exec.Command("go", "build", "-buildvcs=auto", "-trimpath", "-ldflags=-s -w", "-o", file, "./cmd/nstool") //nolint:gosec // a file of ours
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off")
	if err := cmd.Run(); err != nil {
		return p, err
	}
	if p.data, err = os.ReadFile(file); err != nil { //nolint:gosec // a file of ours
		return p, err
	}
	info, err := buildinfo.Read(bytes.NewReader(p.data))
	if err != nil {
		return p, err
	}
	p.version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			p.revision = s.Value
		case "vcs.time":
			if p.created, err = time.Parse(time.RFC3339, s.Value); err != nil {
				return p, err
			}
		}
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return p, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		p.created = time.Unix(seconds, 0).UTC()
	}
	return p, nil
}

// labels returns the annotations of the OCI image specification, which are
// labels too: registries show those, engines these.
func (p program) labels() map[string]string {
	labels := map[string]string{}
	for key, value := range map[string]string{
		"title":    "nstool",
		"version":  p.version,
		"revision": p.revision,
		"created":  p.created.Format(time.RFC3339),
		"source":   "https://github.com/nstool/nstool",
		"licenses": "Apache-2.0",
	} {
		if value != "" {
			labels["org.opencontainers.image."+key] = value
		}
	}
	return labels
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type (
	object   = map[string]any
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Variant      string `json:"variant,omitempty"`
	}
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Platform    *platform         `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
)

// write returns an archive with an image of the programs, and the digest of its
// index, by which a registry will know it.
func write(name string, programs []program) (data []byte, digest string, err error) {
	a := newArchive(programs[0].created)
	var manifests []descriptor
	var legacy []object // what `docker save` wrote before it knew OCI
	for i, p := range programs {
		layer := newArchive(p.created)
		layer.add("nstool", 0o755, p.data)
		plain, err := layer.close()
		if err != nil {
			return nil, "", err
		}
		pl := platform{Architecture: p.arch, OS: "linux"}
		if p.arch == "arm64" {
			pl.Variant = "v8"
		}
		packed := a.blob(typeLayer, compress(plain))
		config := object{
			"architecture": pl.Architecture,
			"variant":      pl.Variant,
			"os":           pl.OS,
			"created":      p.created,
			"config": object{
				"Entrypoint": []string{"/nstool"},
				"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"},
				"Labels":     p.labels(),
				"WorkingDir": "/",
			},
			"rootfs":  object{"type": "layers", "diff_ids": []string{sum(plain)}},
			"history": []object{{"created": p.created, "created_by": "COPY nstool /nstool"}},
		}
		c := a.json(typeConfig, config)
		m := a.json(typeManifest, object{
			"schemaVersion": 2, "mediaType": typeManifest,
			"config": c, "layers": []descriptor{packed}, "annotations": p.labels(),
		})
		m.Platform = &pl
		manifests = append(manifests, m)
		tag := name
		if i > 0 {
			tag += "-" + p.arch
		}
		legacy = append(legacy, object{"Config": blobPath(c.Digest), "RepoTags": []string{tag}, "Layers": []string{blobPath(packed.Digest)}})
	}
	index := a.json(typeIndex, object{
		"schemaVersion": 2, "mediaType": typeIndex,
		"manifests": manifests, "annotations": programs[0].labels(),
	})
	_, tag, _ := strings.Cut(path.Base(name), ":")
	index.Annotations = map[string]string{
		"io.containerd.image.name":          name, // containerd's, and podman's
		"org.opencontainers.image.ref.name": tag,
	}
	a.add("oci-layout", 0o644, encode(object{"imageLayoutVersion": "1.0.0"}))
	a.add("index.json", 0o644, encode(object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{index}}))
	a.add("manifest.json", 0o644, encode(legacy))
	data, err = a.close()
	return data, index.Digest, err
}

// An archive is a tar file that is being written.
type archive struct {
	buf  bytes.Buffer
	w    *tar.Writer
	time time.Time
	err  error // the first
}

func newArchive(t time.Time) *archive {
	a := &archive{time: t}
	a.w = tar.NewWriter(&a.buf)
	return a
}

func (a *archive) add(name string, mode int64, data []byte) {
	err := a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: a.time, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = a.w.Write(data)
	}
	a.err = cmp.Or(a.err, err)
}

// blob adds what is named by its hash.
func (a *archive) blob(mediaType string, data []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: sum(data), Size: len(data)}
	a.add(blobPath(d.Digest), 0o644, data)
	return d
}

func (a *archive) json(mediaType string, v any) descriptor { return a.blob(mediaType, encode(v)) }

func (a *archive) close() ([]byte, error) {
	a.err = cmp.Or(a.err, a.w.Close())
	return a.buf.Bytes(), a.err
}

func sum(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// encode writes the keys of maps in order, so that the same is always the same.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps, slices and strings of our own
	}
	return data
}

func compress(data []byte) []byte {
	var buf bytes.Buffer
	w, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	return buf.Bytes()
}

var reference = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// fullName returns a name with registry and tag, as engines complete it:
// containerd looks for no other.
func fullName(name string) (string, error) {
	full := name
	registry, _, found := strings.Cut(name, "/")
	switch {
	case !found:
		full = "docker.io/library/" + name
	case registry != "localhost" && !strings.ContainsAny(registry, ".:"):
		full = "docker.io/" + name
	}
	if !strings.Contains(path.Base(full), ":") {
		full += ":latest"
	}
	if !reference.MatchString(full) {
		return "", fmt.Errorf("%q is no name of an image", name)
	}
	return full, nil
}
