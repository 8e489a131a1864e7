// Package output writes what package inspect saw, for people and for programs.
//
// It reads nothing but what it is given: a [View] is a snapshot together with
// what else a cell may want to say. What can be shown stands in one table of
// columns for namespaces ([Namespaces]) and one for processes ([Processes]);
// header, selection, JSON names and types, filters and the manual page are made
// from these.
//
//	view := &output.View{Snapshot: snap, Details: snap.Describe(ctx, snap.Processes(), true)}
//	cols, err := output.Select(output.Namespaces, "+HOLDERS", output.Defaults(0, false))
//	if err != nil {
//		return err
//	}
//	rows := slices.Collect(snap.Namespaces(inspect.Net))
//	return output.Table(os.Stdout, view, rows, cols, output.Style{}, nil)
//
// Cells hold what other processes wrote. [Table] and [Raw] clean them for the
// terminal, see [Clean]; [JSON] keeps the truth.
package output
