package enter

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// loaders are the dynamic loaders, in the fixed places that the headers of dynamic programs
// name.
var loaders = []string{"lib64/ld-linux*.so.*", "lib/ld-linux*.so.*", "lib/ld-musl-*.so.1", "lib64/ld64.so.*", "lib/ld64.so.*"}

// fixtures are other files that programs need in a fixed place: interpreters of scripts, and
// data.
var fixtures = []string{
	"bin/sh", "bin/bash", "usr/bin/env", "usr/bin/perl", "usr/bin/python3",
	"lib/terminfo", "usr/share/terminfo", "usr/share/vim", "usr/share/gdb", "usr/share/misc", "usr/lib/locale",
	"usr/lib/python3", "usr/lib/python3.*", "usr/share/perl", "usr/share/perl5", "usr/lib/*-linux-*/perl", "usr/lib/*-linux-*/perl-base",
	"usr/lib/*-linux-*/perl5", "usr/lib/*-linux-*/gconv", "usr/lib/git-core",
}

// maxEntries is the most entries in the root directory of a target.
const maxEntries = 4096

// surround makes the rest of a root directory for the tools.
func (b *builder) surround() {
	for _, name := range []string{"proc", "sys"} {
		if fd := b.openDir(b.target, name); fd >= 0 && (name != "proc" || sys.IsProcfs(fd)) {
			b.bind(fd, "", b.base, name, true)
		}
	}
	b.ownProc()
	etc := b.mkdir(b.base, "etc")
	for _, name := range []string{"resolv.conf", "hosts", "hostname"} {
		fd := b.open(b.target, "etc/"+name)
		if fd < 0 {
			continue
		}
		if st, err := sys.StatFD(fd); err == nil && st.IsRegular() {
			b.bind(fd, "", etc, name, false)
		}
	}
	b.devices()
	b.mkdir(b.base, "root")
	b.mkdir(b.base, "run")
	b.symlink("/tmp", b.mkdir(b.base, "var"), "tmp")
	b.attach(b.tmpfs("mode=1777", "size=256m"), b.mkdir(b.base, "tmp"), "")
}

// ownProc mounts a read-only /proc for a target without one: unlike a container's, it would not
// protect the settings of the kernel.
func (b *builder) ownProc() {
	if b.err != nil || b.pid < 0 {
		return
	}
	if fd := b.openDir(b.base, "proc"); fd >= 0 && sys.IsProcfs(fd) {
		return
	}
	fd, err := sys.NewFilesystem("proc", sys.NoWrites|sys.NoDevices, sys.Option{Key: "pidns", Value: sys.FDPath(b.pid)})
	if err != nil {
		return // Linux 6.17
	}
	b.fds = append(b.fds, fd)
	b.attach(fd, b.mkdir(b.base, "proc"), "")
}

// devices makes a /dev of the caller's harmless devices.
func (b *builder) devices() {
	dev := b.mkdir(b.base, "dev")
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		host, err := sys.OpenWay("/dev/"+name, true)
		if err != nil {
			continue
		}
		b.fds = append(b.fds, host)
		b.bind(host, "", dev, name, false)
	}
	for name, text := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		b.symlink(text, dev, name)
	}
	if b.err != nil {
		return
	}
	pts, err := sys.NewFilesystem("devpts", 0, sys.Option{Key: "ptmxmode", Value: "0666"}, sys.Option{Key: "mode", Value: "0620"})
	if b.keep("make a devpts", pts, err) >= 0 {
		b.attach(pts, b.mkdir(dev, "pts"), "")
	}
	b.attach(b.tmpfs("mode=1777", "size=64m"), b.mkdir(dev, "shm"), "")
}

// bindTarget mounts each entry of the target's root directory in its place.
func (b *builder) bindTarget() {
	if b.err != nil {
		return
	}
	list, err := sys.List(b.target, maxEntries)
	if b.fail("list the root directory of "+b.of, err) {
		return
	}
	has := map[string]bool{}
	for _, e := range list {
		if e.Name == toolsMountDir {
			continue
		}
		has[e.Name] = true
		if e.Type == sys.TypeUnknown {
			if st, err := sys.StatAt(b.target, e.Name); err == nil && st.IsLink() {
				e.Type = sys.TypeLink
			} else if err == nil && st.IsDir() {
				e.Type = sys.TypeDir
			}
		}
		if e.Type != sys.TypeLink {
			b.bind(b.target, e.Name, b.base, e.Name, e.Type == sys.TypeDir)
			continue
		}
		if text, err := sys.ReadlinkAt(b.target, e.Name); err == nil {
			b.symlink(text, b.base, e.Name)
		}
	}
	b.ownProc()
	if !has["dev"] {
		b.devices()
	}
	if !has["tmp"] {
		b.attach(b.tmpfs("mode=1777", "size=256m"), b.mkdir(b.base, "tmp"), "")
	}
}

// fillIn makes links to the tools where the target has no file that they need, and mounts their
// loader on the target's.
func (b *builder) fillIn() {
	loaders := b.expand(loaders)
	missing := map[string]string{} // target of a link, by its place
	for _, name := range slices.Concat(loaders, b.expand(fixtures)) {
		if at := b.missing(name); at != "" {
			missing[at] = name
		}
	}
	b.linkMissing(missing)
	for _, name := range loaders {
		if b.err != nil {
			return
		}
		there, tool := b.open(b.base, name), b.open(b.tools, name)
		if there < 0 || tool < 0 {
			continue
		}
		a, err1 := sys.StatFD(there)
		o, err2 := sys.StatFD(tool)
		if err1 != nil || err2 != nil || a.FileID == o.FileID || !a.IsRegular() {
			continue
		}
		tree, err := sys.OpenTree(tool, "")
		if b.keep("copy the loader", tree, err) >= 0 {
			b.attach(tree, there, "")
		}
	}
}

// missing returns the path of the first part of name that the target does not have, with links
// followed, or "".
func (b *builder) missing(name string) string {
	defer b.release(len(b.fds))
	done, rest := "", strings.Split(name, "/")
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			done = strings.TrimPrefix(path.Dir("/"+done), "/")
			continue
		}
		at := path.Join(done, part)
		dir := b.openDir(b.base, path.Join(".", done))
		if dir < 0 {
			return ""
		}
		st, err := sys.StatAt(dir, part)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if len(rest) > 0 {
				at += "\x00" + strings.Join(rest, "/")
			}
			return at
		case err != nil:
			return ""
		case st.IsLink():
			text, err := sys.ReadlinkAt(dir, part)
			if hops++; err != nil || hops > 16 {
				return ""
			}
			if strings.HasPrefix(text, "/") {
				done = ""
			}
			rest = append(strings.Split(text, "/"), rest...)
		default:
			done = at
		}
	}
	return ""
}

// linkMissing makes the links: directly in the root directory, which is our own, and elsewhere
// in an overlay on the target's directory.
func (b *builder) linkMissing(missing map[string]string) {
	layers := map[string]map[string]string{} // links by directory and name
	for _, at := range slices.Sorted(maps.Keys(missing)) {
		name := missing[at]
		place, rest, _ := strings.Cut(at, "\x00")
		tool := ToolsDir + "/" + name
		if rest != "" {
			// A directory is missing: it is linked, if the tools have the same.
			if b.openDir(b.tools, place) >= 0 && b.open(b.tools, path.Join(place, rest)) >= 0 {
				tool = ToolsDir + "/" + place
			} else {
				place = path.Join(place, rest)
			}
		}
		top, _, deep := strings.Cut(place, "/")
		if !deep {
			b.symlink(tool, b.base, place)
			continue
		}
		dir := path.Dir(place)
		for dir != top && b.openDir(b.base, dir) < 0 {
			dir = path.Dir(dir)
		}
		if b.openDir(b.base, dir) < 0 { // the first of several in a missing directory
			b.symlink(tool, b.mkdirAll(b.base, path.Dir(place)), path.Base(place))
			continue
		}
		if layers[dir] == nil {
			layers[dir] = map[string]string{}
		}
		layers[dir][strings.TrimPrefix(place, dir+"/")] = tool
	}
	// Nested directories share one overlay, since overlays do not stack.
	for _, dir := range slices.Sorted(maps.Keys(layers)) {
		for outer := range layers {
			if inner, ok := strings.CutPrefix(dir, outer+"/"); ok {
				for place, tool := range layers[dir] {
					layers[outer][path.Join(inner, place)] = tool
				}
				delete(layers, dir)
				break
			}
		}
	}
	n := 0
	for _, dir := range slices.Sorted(maps.Keys(layers)) {
		n++
		layer := b.mkdir(b.scratch, fmt.Sprintf("layer%d", n))
		for place, tool := range layers[dir] {
			b.symlink(tool, b.mkdirAll(layer, path.Dir(place)), path.Base(place))
		}
		fd := b.openDir(b.base, dir)
		b.overlay(fd, "/"+dir+" of "+b.of, layer, fd)
		b.mountsBelow(dir)
	}
}

// mountsBelow mounts again what the target has mounted below a directory that an overlay
// covers.
func (b *builder) mountsBelow(dir string) {
	done := map[string]bool{}
	for m := range procfile.Mounts(b.mounts) {
		if b.err != nil {
			return
		}
		at := strings.TrimPrefix(m.Point, "/")
		above := at
		for above != "." && !done[above] {
			above = path.Dir(above)
		}
		if !strings.HasPrefix(at, dir+"/") || done[above] {
			continue
		}
		from, to := b.open(b.target, at), b.open(b.base, at)
		if from < 0 || to < 0 {
			continue
		}
		tree, err := sys.OpenTree(from, "")
		if b.keep("copy the mount /"+at, tree, err) >= 0 {
			b.attach(tree, to, "")
		}
		done[at] = true
	}
}
