package inside

import "strings"

// UTS is what is inside a UTS namespace: see uts_namespaces(7).
type UTS struct {
	Host string
	// Domain is the NIS domain name, "(none)" if it was never set.
	Domain string
}

func (r *reader) uts() *UTS {
	texts, err := r.joined("sys/kernel/hostname", "sys/kernel/domainname")
	if err != nil {
		r.gap("host name", err)
		return nil
	}
	line := func(b []byte) string { return strings.TrimSuffix(string(b), "\n") }
	return &UTS{Host: line(texts[0]), Domain: line(texts[1])}
}
