package sys

// An FD owns a descriptor. It is closed once, by Close, whoever else calls that
// again; or it is taken away, and is somebody else's to close. A number that is
// closed twice is, the second time, that of what another thread has opened
// meanwhile. -1 is none.
type FD int

// Take returns the number, for somebody else to own, and leaves none.
func (f *FD) Take() int {
	n := int(*f)
	*f = -1
	return n
}

// Close closes the descriptor, if there is one.
func (f *FD) Close() { CloseAll(f.Take()) }
