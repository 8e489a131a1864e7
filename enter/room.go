package enter

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// Directories of tools that are brought along, if they are there.
var toolDirs = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "nix", "gnu"}

// What is brought along of /etc: files, links and directories that programs
// look for and that have no secrets.
var (
	toolFiles = []string{
		"bash.bashrc", "gai.conf", "group", "inputrc", "ld.so.cache", "ld.so.conf", "localtime", "magic", "mime.types",
		"nsswitch.conf", "os-release", "passwd", "protocols", "rpc", "services", "shells", "ssl/openssl.cnf", "pki/tls/cert.pem",
	}
	toolTrees = []string{"ld.so.conf.d", "terminfo", "vim", "gdb", "perl", "ssl/certs", "pki/ca-trust", "pki/tls/certs", "ca-certificates"}
)

// Where programs and libraries of tools are. The first in which a star is for
// the name of a machine.
var (
	programDirs = []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}
	libraryDirs = []string{"usr/local/lib", "lib/*-linux-*", "usr/lib/*-linux-*", "lib64", "usr/lib64", "lib", "usr/lib"}
)

// loaders are the dynamic loaders, in the one place where the kernel looks for
// them: what stands in the header of every dynamic program.
var loaders = []string{"lib64/ld-linux*.so.*", "lib/ld-linux*.so.*", "lib/ld-musl-*.so.1", "lib64/ld64.so.*", "lib/ld64.so.*"}

// fixtures are what programs look for in a fixed place, beside their loader:
// the interpreters of scripts, and data.
var fixtures = []string{
	"bin/sh", "bin/bash", "usr/bin/env", "usr/bin/perl", "usr/bin/python3",
	"lib/terminfo", "usr/share/terminfo", "usr/share/vim", "usr/share/gdb", "usr/share/misc", "usr/lib/locale",
	"usr/lib/python3", "usr/lib/python3.*", "usr/share/perl", "usr/share/perl5", "usr/lib/*-linux-*/perl", "usr/lib/*-linux-*/perl-base",
	"usr/lib/*-linux-*/perl5", "usr/lib/*-linux-*/gconv", "usr/lib/git-core",
}

// Bounds of what a target may have in its root directory, and of a directory
// of tools.
const (
	mostEntries = 4096
	mostTools   = 1 << 16
	mostFile    = 1 << 20 // bytes of a file in /etc
)

// build makes the room, on a thread of its own that is given up, and opens its
// mount namespace. Nothing outside changes, and if this process is killed on
// the way the kernel takes all of it away.
func (r *room) build() (err error) {
	target, err := sys.TreeOf(r.mnt, r.root)
	if err != nil {
		return fmt.Errorf("copy the mounts of %s: %w", r.of, err)
	}
	defer sys.CloseAll(target)
	source := -1
	if r.tools.Of != nil {
		if source, err = sys.TreeOf(r.toolsMnt, r.toolsRoot); err != nil {
			return fmt.Errorf("copy the mounts of %s: %w", r.tools.from(), err)
		}
		defer sys.CloseAll(source)
	}
	return sys.OnThread(func() error {
		b := &builder{room: r, target: target}
		defer b.close()
		b.build(source)
		if b.err != nil {
			r.close()
		}
		return b.err
	})
}

func (r *room) close() {
	if r != nil && r.ns >= 0 {
		sys.CloseAll(r.ns)
		r.ns = -1
	}
}

// A builder makes a room. After its first error it does nothing more.
type builder struct {
	*room
	base    int // the root directory to be: a tmpfs
	scratch int // a tmpfs for what is needed to make it
	target  int // where the target is
	tools   int // where the tools are
	links   int // a layer of links for the tools
	empty   int // a directory with nothing in it

	fds []int
	err error
}

func (b *builder) close() { sys.CloseAll(b.fds...) }

// fail notes an error, and reports whether there is one.
func (b *builder) fail(what string, err error) bool {
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", what, err)
	}
	return b.err != nil
}

// keep takes a descriptor that is closed at the end.
func (b *builder) keep(what string, fd int, err error) int {
	if b.fail(what, err) {
		return -1
	}
	b.fds = append(b.fds, fd)
	return fd
}

func (b *builder) build(source int) {
	if b.fail("leave the mount namespace", sys.LeaveMounts()) {
		return
	}
	var err error
	b.ns, err = sys.OwnMountNamespace()
	if b.fail("open the mount namespace", err) {
		return
	}
	id, err := sys.Fstat(b.ns)
	b.fail("look at the mount namespace", err)
	b.id = inspect.ID(id)

	b.base = b.tmpfs("mode=0755", "size=16m")
	b.attachSomewhere(b.base)
	home := b.mkdir(b.base, roomDir)
	work := b.mkdir(home, "work")
	b.scratch = b.tmpfs("mode=0755")
	b.attach(b.scratch, work, "")
	b.links, b.empty = b.mkdir(b.scratch, "links"), b.mkdir(b.scratch, "empty")

	b.attach(b.target, b.mkdir(home, "target"), "")
	if b.err == nil {
		b.fail("keep mounts apart", sys.SetPropagation(b.target, sys.Private|sys.Recursive))
	}
	switch b.view {
	case ViewTools:
		b.tools = b.base
		b.symlink("..", home, "tools")
	default:
		b.tools = b.mkdir(home, "tools")
	}
	b.bringTools(b.openSource(source))
	switch b.view {
	case ViewTools:
		b.surround()
	default:
		b.bindTarget()
		b.fillIn()
	}
	b.path = b.existing(programDirs)
	b.libs = b.existing(libraryDirs)
	if b.err != nil {
		return
	}
	b.fail("take the scratch file system away", sys.Detach(b.scratch))
	b.fail("remove a directory", sys.Rmdir(home, "work"))
	b.fail("make the root directory read-only", sys.ReadOnly(b.base))
	b.fail("change the root of the mount namespace", sys.PivotTo(b.base))
}

// ---- the parts it is made of

func (b *builder) tmpfs(options ...string) int {
	if b.err != nil {
		return -1
	}
	list := []sys.Option{{Key: "source", Value: "nstool"}}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		list = append(list, sys.Option{Key: key, Value: value})
	}
	fd, err := sys.NewFilesystem("tmpfs", sys.NoDevices, list...)
	return b.keep("make a tmpfs", fd, err)
}

func (b *builder) mkdir(parent int, name string) int {
	if b.err != nil {
		return -1
	}
	if err := sys.Mkdir(parent, name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		b.fail("make the directory "+name, err)
		return -1
	}
	fd, err := sys.OpenAt(parent, name, true)
	return b.keep("open the directory "+name, fd, err)
}

// mkdirAll makes the directories on the way to name, and returns the last.
func (b *builder) mkdirAll(parent int, name string) int {
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parent = b.mkdir(parent, part)
		}
	}
	return parent
}

func (b *builder) symlink(text string, parent int, name string) {
	if b.err != nil {
		return
	}
	if err := sys.Symlink(text, parent, name); err != nil && !errors.Is(err, fs.ErrExist) {
		b.fail("make the link "+name, err)
	}
}

// file makes an empty file to mount on.
func (b *builder) file(parent int, name string) {
	if b.err != nil {
		return
	}
	fd, err := sys.Create(parent, name, 0o444)
	b.keep("make the file "+name, fd, err)
}

func (b *builder) attach(tree, dir int, name string) {
	if b.err == nil {
		b.fail("mount "+path.Join(".", name), sys.Attach(tree, dir, name))
	}
}

// attachSomewhere mounts the new root directory on one of the old one's: on
// which is all the same, since the old one will be left.
func (b *builder) attachSomewhere(tree int) {
	var err error
	for _, dir := range []string{"/sys", "/dev", "/mnt", "/boot", "/tmp"} {
		if b.err != nil {
			return
		}
		var fd int
		if fd, err = sys.OpenDirectory(dir); err != nil {
			continue
		}
		b.fds = append(b.fds, fd)
		if err = sys.Attach(tree, fd, ""); err == nil {
			return
		}
	}
	b.fail("mount a tmpfs", err)
}

// bind shows what fd is, with all that is mounted below, at name in dir.
func (b *builder) bind(fd int, from string, dir int, name string, isDir bool) (found bool) {
	if b.err != nil {
		return false
	}
	tree, err := sys.OpenTree(fd, from)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if b.keep("copy the mount "+name, tree, err) < 0 {
		return false
	}
	if isDir {
		b.mkdir(dir, name)
	} else {
		b.file(dir, name)
	}
	b.attach(tree, dir, name)
	return true
}

// overlay mounts an overlay of layers, the first on top, on a directory.
func (b *builder) overlay(on int, what string, layers ...int) {
	if b.err != nil {
		return
	}
	tree, err := sys.NewOverlay(layers...)
	if b.keep("make a read-only overlay of "+what, tree, err) >= 0 {
		b.attach(tree, on, "")
	}
}

// open opens a path inside root, or returns -1 if there is no such thing.
func (b *builder) open(root int, name string) int {
	if b.err != nil {
		return -1
	}
	fd, err := sys.OpenInRoot(root, name, true)
	if err != nil {
		return -1
	}
	b.fds = append(b.fds, fd)
	return fd
}

// openDir is open for a directory.
func (b *builder) openDir(root int, name string) int {
	fd := b.open(root, name)
	if fd < 0 {
		return -1
	}
	if st, err := sys.StatFD(fd); err != nil || !st.IsDir() {
		return -1
	}
	return fd
}

// ---- the tools

// openSource opens the directory where the tools are from.
func (b *builder) openSource(tree int) int {
	if b.err != nil {
		return -1
	}
	t := b.room.tools
	switch {
	case tree >= 0:
		b.attach(tree, b.mkdir(b.scratch, "source"), "")
		if b.err == nil {
			b.fail("keep mounts apart", sys.SetPropagation(tree, sys.Private|sys.Recursive))
		}
		return tree
	case t.Unpack != nil:
		fd := b.mkdir(b.scratch, "source")
		if b.err == nil {
			b.fail("unpack "+t.from(), t.Unpack(sys.FDPath(fd)))
		}
		return fd
	case t.Dir != "":
		fd, err := sys.OpenDirectory(t.Dir)
		if err == nil {
			return b.keep("", fd, nil)
		}
		b.fail("open the tools", err)
		return -1
	}
	fd, err := sys.OpenDirectory("/")
	return b.keep("open the root directory", fd, err)
}

// bringTools shows the tools of source, such that nobody can write to them.
func (b *builder) bringTools(source int) {
	found := false
	for _, name := range toolDirs {
		if b.err != nil {
			return
		}
		st, err := sys.StatAt(source, name)
		switch {
		case err != nil:
		case st.IsLink():
			text, err := sys.ReadlinkAt(source, name)
			b.fail("read the link "+name, err)
			b.symlink(strings.TrimLeft(text, "/"), b.tools, name)
			found = true
		case st.IsDir():
			layers := []int{b.openDir(source, name), b.empty}
			if links := b.absoluteLinks(source, name); links >= 0 {
				layers = slices.Insert(layers, 0, links)
			}
			b.overlay(b.mkdir(b.tools, name), name, layers...)
			found = true
		}
	}
	if b.err == nil && !found {
		b.overlay(b.mkdir(b.tools, "bin"), b.room.tools.from(), source, b.empty)
	}
	b.bringSettings(source)
}

// absoluteLinks makes a layer in which the absolute links among the programs of
// directory top lead to where the tools are, or returns -1 if there are none.
func (b *builder) absoluteLinks(source int, top string) int {
	layer := -1
	for _, dir := range programDirs {
		if dir == top || strings.HasPrefix(dir, top+"/") {
			b.rewrite(b.openDir(source, dir), func() int {
				layer = b.mkdir(b.links, top)
				return b.mkdirAll(b.links, dir)
			})
		}
	}
	return layer
}

// rewrite makes of each absolute link in the directory from one to where the
// tools are, in the directory that to returns; it is asked if there are any.
func (b *builder) rewrite(from int, to func() int) {
	if from < 0 || b.err != nil {
		return
	}
	list, err := sys.List(from, mostTools)
	if b.fail("list the tools", err) {
		return
	}
	dir := -1
	for _, e := range list {
		if e.Type != sys.TypeLink {
			continue
		}
		text, err := sys.ReadlinkAt(from, e.Name)
		if err != nil || !strings.HasPrefix(text, "/") {
			continue
		}
		if dir < 0 {
			dir = to()
		}
		b.symlink(ToolsDir+text, dir, e.Name)
	}
}

// bringSettings shows of /etc what programs cannot do without.
func (b *builder) bringSettings(source int) {
	from := b.openDir(source, "etc")
	if from < 0 {
		return
	}
	etc := b.mkdir(b.tools, "etc")
	b.rewrite(b.openDir(from, "alternatives"), func() int { return b.mkdir(etc, "alternatives") })
	if b.view != ViewTools {
		return
	}
	for _, name := range toolFiles {
		b.copyFile(source, from, etc, name)
	}
	for _, name := range toolTrees {
		if dir := b.openDir(from, name); dir >= 0 {
			b.overlay(b.mkdirAll(etc, name), "/etc/"+name, dir, b.empty)
		}
	}
}

// copyFile copies a file of /etc, or what a link there leads to among the
// tools.
func (b *builder) copyFile(source, from, etc int, name string) {
	if b.err != nil {
		return
	}
	st, err := sys.StatAt(from, name)
	switch {
	case err != nil:
	case st.IsLink():
		text, err := sys.ReadlinkAt(from, name)
		if err == nil {
			b.symlink(text, b.mkdirAll(etc, path.Dir(name)), path.Base(name))
		}
	case st.IsRegular() && st.Mode&0o004 != 0:
		text, err := sys.ReadBeneath(source, "etc/"+name, mostFile)
		if err == nil {
			b.fail("copy "+name, sys.WriteFile(b.mkdirAll(etc, path.Dir(name)), path.Base(name), text))
		}
	}
}

// existing returns those directories of tools that are there, as the program
// sees them, and the same one only once.
func (b *builder) existing(patterns []string) (dirs []string) {
	seen := map[sys.FileID]bool{}
	for _, name := range b.expand(patterns) {
		fd := b.openDir(b.tools, name)
		if fd < 0 {
			continue
		}
		id, err := sys.Fstat(fd)
		if err != nil || seen[id] {
			continue
		}
		seen[id] = true
		if b.view == ViewTools {
			dirs = append(dirs, "/"+name)
		} else {
			dirs = append(dirs, ToolsDir+"/"+name)
		}
	}
	return dirs
}

// expand returns what the tools have of names that may have stars in one part.
func (b *builder) expand(patterns []string) (names []string) {
	for _, p := range patterns {
		star := strings.IndexByte(p, '*')
		if star < 0 {
			if b.open(b.tools, p) >= 0 {
				names = append(names, p)
			}
			continue
		}
		dir := p[:strings.LastIndexByte(p[:star], '/')]
		part, rest, _ := strings.Cut(p[len(dir)+1:], "/")
		fd := b.openDir(b.tools, dir)
		if fd < 0 {
			continue
		}
		list, err := sys.List(fd, mostTools)
		if err != nil {
			continue
		}
		for _, e := range list {
			if ok, err := path.Match(part, e.Name); err != nil || !ok {
				continue
			}
			if name := path.Join(dir, e.Name, rest); b.open(b.tools, name) >= 0 {
				names = append(names, name)
			}
		}
	}
	return names
}

// ---- the target around or beside them

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

// ownProc gives a target without /proc one that nobody can write to, since
// there is nothing in it that keeps the settings of the kernel from him.
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

// bindTarget shows each entry of the target's root directory in its place.
func (b *builder) bindTarget() {
	if b.err != nil {
		return
	}
	list, err := sys.List(b.target, mostEntries)
	if b.fail("list the root directory of "+b.of, err) {
		return
	}
	has := map[string]bool{}
	for _, e := range list {
		if e.Name == roomDir {
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

// fillIn puts links to the tools where the target has nothing and tools want to
// find something, and their loader in the place of the target's.
func (b *builder) fillIn() {
	loaders := b.expand(loaders)
	missing := map[string]string{} // link by its place
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

// missing returns the place of the first part of name that the target does not
// have, with all links on the way followed, or "".
func (b *builder) missing(name string) string {
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

// linkMissing makes the links. In the root directory, which is our own, they
// are made; elsewhere a layer with them is laid over what the target has.
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
		if b.openDir(b.base, dir) < 0 { // the first of several in a directory that is not there
			b.symlink(tool, b.mkdirAll(b.base, path.Dir(place)), path.Base(place))
			continue
		}
		if layers[dir] == nil {
			layers[dir] = map[string]string{}
		}
		layers[dir][strings.TrimPrefix(place, dir+"/")] = tool
	}
	// One overlay for directories inside each other: they do not stack.
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

// mountsBelow shows again what the target has mounted below a directory that an
// overlay has been laid over.
func (b *builder) mountsBelow(dir string) {
	var done []string
	for line := range strings.Lines(string(b.mounts)) {
		m, ok := inspect.ParseMount(strings.TrimSuffix(line, "\n"))
		if b.err != nil || !ok {
			return
		}
		at := strings.TrimPrefix(m.Point, "/")
		if !strings.HasPrefix(at, dir+"/") || slices.ContainsFunc(done, func(d string) bool { return at == d || strings.HasPrefix(at, d+"/") }) {
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
		done = append(done, at)
	}
}
