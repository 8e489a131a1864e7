package entry

import "strings"

const enterUsage = `Run a program in namespaces that exist: those of a process, a container, a pin
or a file. With a target and no namespace flag, these are all of the target.

Usage:
  nstool enter [FLAGS] [TARGET] [PROGRAM [ARG...]]

Examples:
  nstool enter web                        a shell in all namespaces of a container
  nstool enter web -n ss -ltn             ss of this host, in its network alone
  nstool enter -p 4242 --net --uts sh     the network and host name of process 4242
  nstool enter --net=netns:blue ip addr   a network namespace of ip-netns(8)
  nstool enter --dry-run -p 4242 sh       what would be done

A program in the file system of the target gets the privileges of the target, not
those of the caller; --privileged changes that.
`

const runUsage = `Run a program in new namespaces, and with --join also in some that exist.

Usage:
  nstool run [FLAGS] [PROGRAM [ARG...]]

Examples:
  nstool run --net --loopback sh            a new network
  nstool run --all --hostname box           a shell in eight new namespaces
  nstool run --rootless --pid --mount-proc ps   as an ordinary user
  nstool run --uts --net --pin web true     nothing but two namespaces with a name
  nstool run --join net=pin:blue --mnt sh   one that exists, and a new one
`

// Usage returns the help of the command.
func (o *Options) Usage() string {
	var b strings.Builder
	page := "nstool-enter(1)"
	if o.run {
		page = "nstool-run(1)"
		b.WriteString(runUsage)
	} else {
		b.WriteString(enterUsage)
	}
	const column = 27
	for _, f := range o.Flags() {
		if f.Group != "" {
			b.WriteString("\n" + f.Group + ":\n")
		}
		left := "    "
		for i, s := range f.Short {
			if i == 0 {
				left = "  -" + string(s)
			} else {
				left += ", -" + string(s)
			}
		}
		if f.Short == "" {
			left += "  "
		} else {
			left += ", "
		}
		left += "--" + f.Name
		switch {
		case f.Optional:
			left += "[=" + f.Arg + "]"
		case f.Arg != "":
			left += " " + f.Arg
		}
		if len(left) > column-2 {
			b.WriteString(left + "\n" + strings.Repeat(" ", column))
		} else {
			b.WriteString(left + strings.Repeat(" ", column-len(left)))
		}
		b.WriteString(wrap(f.Help, 80-column, column) + "\n")
	}
	b.WriteString(`
Exit status: that of the program; 128+N if signal N ended it; 127 if it was not
found, 126 if it could not be invoked, 125 if nstool failed and it did not run.
See ` + page + `.
`)
	return b.String()
}

// wrap breaks text into lines of width, the later ones indented.
func wrap(text string, width, indent int) string {
	var b strings.Builder
	n := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case n == 0:
		case n+1+len(word) > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			n = 0
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}
