// Package output writes lists of what package inspect saw, for people and for programs.
//
// It reads nothing but its arguments: a [View] is a snapshot together with other things
// that a cell may show. Everything that can be shown of a row is a [Column] of a
// [ListOf]: header, selection, JSON names and types, filters and the manual page are made
// from these.
//
//	view := &output.View{Snapshot: snap, Details: snap.Describe(ctx, snap.Processes(), inspect.WithArgs())}
//	list := output.NamespaceList()
//	cols, err := output.Select(list.Columns, "+HOLDERS", list.Defaults())
//	if err != nil {
//		return err
//	}
//	rows := slices.Collect(snap.Namespaces(inspect.Net))
//	return output.Table(os.Stdout, view, rows, cols, output.Style{}, nil)
//
// Cells hold what other processes wrote. [Table] and [Raw] clean them for the
// terminal, see [Clean]; [JSON] keeps the truth.
package output
