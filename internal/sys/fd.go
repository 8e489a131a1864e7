package sys

// An FD owns a descriptor; -1 is none. Close closes it once, also if called again. After Take
// another owner closes it. A second close of the same number could close what another thread
// has opened meanwhile.
type FD int

// Take returns the number to a new owner, and leaves none.
func (f *FD) Take() int {
	n := int(*f)
	*f = -1
	return n
}

// Close closes the descriptor, if there is one.
func (f *FD) Close() { CloseAll(f.Take()) }
