package enter

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// build makes the tools mount on a thread of its own, and opens its mount namespace. Nothing
// outside changes, and if this process is killed the kernel frees everything.
func (r *toolsMount) build() (err error) {
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
		b := &builder{toolsMount: r, target: target}
		defer b.close()
		b.build(source)
		if b.err != nil {
			r.close()
		}
		return b.err
	})
}

func (r *toolsMount) close() {
	if r != nil && r.ns >= 0 {
		sys.CloseAll(r.ns)
		r.ns = -1
	}
}

// A builder makes a toolsMount. After its first error it does nothing.
type builder struct {
	*toolsMount
	base    int // the future root directory: a tmpfs
	scratch int // a tmpfs for parts of it
	target  int // directory of the target
	tools   int // directory of the tools
	links   int // a layer of links for the tools
	empty   int // an empty directory

	fds []int
	err error
}

func (b *builder) close() { sys.CloseAll(b.fds...) }

// release closes all descriptors but the first n.
func (b *builder) release(n int) {
	sys.CloseAll(b.fds[n:]...)
	b.fds = b.fds[:n]
}

// fail notes an error, and reports whether there is one.
func (b *builder) fail(what string, err error) bool {
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", what, err)
	}
	return b.err != nil
}

// keep has a descriptor closed at the end.
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
	home := b.mkdir(b.base, toolsMountDir)
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

// attachSomewhere mounts the new root directory on any directory of the old one, which is left
// later.
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

// bind mounts from in fd, with everything mounted below it, on name in dir.
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

// open opens a path inside root, or returns -1 if it cannot be opened. It is an error only if
// nstool could open nothing at all.
func (b *builder) open(root int, name string) int {
	if b.err != nil {
		return -1
	}
	fd, err := sys.OpenInRootAnswering(root, name)
	for _, own := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSYS, syscall.EPERM} {
		if errors.Is(err, own) {
			b.fail("open "+name, err)
		}
	}
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
