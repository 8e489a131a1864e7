package enter

import (
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// Directories of tools, as far as they exist.
var toolDirs = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "nix", "gnu"}

// Files and directories of /etc that programs need and that have no secrets.
var (
	toolFiles = []string{
		"bash.bashrc", "gai.conf", "group", "inputrc", "ld.so.cache", "ld.so.conf", "localtime", "magic", "mime.types",
		"nsswitch.conf", "os-release", "passwd", "protocols", "rpc", "services", "shells", "ssl/openssl.cnf", "pki/tls/cert.pem",
	}
	toolTrees = []string{"ld.so.conf.d", "terminfo", "vim", "gdb", "perl", "ssl/certs", "pki/ca-trust", "pki/tls/certs", "ca-certificates"}
)

// Directories of programs and libraries. A star stands for the name of a machine.
var (
	programDirs = []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}
	libraryDirs = []string{"usr/local/lib", "lib/*-linux-*", "usr/lib/*-linux-*", "lib64", "usr/lib64", "lib", "usr/lib"}
)

// The most entries of a directory of tools, and bytes of a file in /etc.
const (
	maxTools = 1 << 16
	maxFile  = 1 << 20 // bytes
)

// openSource opens the root directory of the tools.
func (b *builder) openSource(tree int) int {
	if b.err != nil {
		return -1
	}
	t := b.toolsMount.tools
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

// bringTools mounts the tools of source read-only.
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
		b.overlay(b.mkdir(b.tools, "bin"), b.toolsMount.tools.from(), source, b.empty)
	}
	b.bringSettings(source)
}

// absoluteLinks makes a layer with the absolute links among the programs of directory top,
// changed to lead to the tools. It returns -1 if there are none.
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

// rewrite copies each absolute link in the directory from, changed to lead to the tools, to the
// directory that to returns. to is called if there are any.
func (b *builder) rewrite(from int, to func() int) {
	if from < 0 || b.err != nil {
		return
	}
	list, err := sys.List(from, maxTools)
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

// bringSettings copies the files of /etc that programs need.
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

// copyFile copies a file or a link of /etc.
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
		text, err := sys.ReadBeneath(source, "etc/"+name, maxFile)
		if err == nil {
			b.fail("copy "+name, sys.WriteFile(b.mkdirAll(etc, path.Dir(name)), path.Base(name), text))
		}
	}
}

// existing returns the directories of tools that exist, as the program sees them, each one
// once.
func (b *builder) existing(patterns []string) (dirs []string) {
	defer b.release(len(b.fds))
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

// expand returns the paths of the tools that match patterns with a star in one part.
func (b *builder) expand(patterns []string) (names []string) {
	defer b.release(len(b.fds))
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
		list, err := sys.List(fd, maxTools)
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
