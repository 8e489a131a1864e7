package entry

import (
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/target"
)

// SharedByPod are the namespaces that the containers of a Kubernetes pod share,
// unless the pod says otherwise.
var SharedByPod = inspect.TypesOf(inspect.Net, inspect.IPC, inspect.UTS)

// TargetOf reads the target of a command with the flags --target, --container and --pod. ok is
// false if none was given.
func TargetOf(word, container, pod string) (ref target.Ref, ok bool, err error) {
	var given []string
	for _, f := range []struct{ name, arg string }{{"--target", word}, {"--container", container}, {"--pod", pod}} {
		if f.arg != "" {
			given = append(given, f.name)
		}
	}
	switch {
	case len(given) == 0:
		return ref, false, nil
	case len(given) > 1:
		return ref, false, usagef("%s and %s exclude each other", given[0], given[1])
	case pod != "":
		ref, err = target.ParsePod(pod)
	case container != "":
		ref, err = target.Parse("container:" + container)
	default:
		ref, err = target.Parse(word)
	}
	if err != nil {
		return ref, false, UsageError{err}
	}
	return ref, true, nil
}
