package filter

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// columns are those that these tests know. What an expression is for rows is tested
// by package output.
func columns(name string) (Column, bool) {
	for i, c := range []Column{{Name: "id", Class: Number}, {Name: "name", Class: Text}, {Name: "words", Class: List}, {Name: "in", Class: Text}, {Name: "on", Class: Flag}} {
		if strings.EqualFold(c.Name, name) {
			c.Cell = i
			return c, true
		}
	}
	return Column{}, false
}

var row = []Cell{{Known: true, Num: 7, Text: "7"}, {Known: true, Text: "web"}, {Known: true, List: []string{"a", "b"}}, {Known: true, Text: "x"}, {}}

// A column may be called as an operator is.
func TestParse(t *testing.T) {
	for expr, want := range map[string]Truth{
		`in == "x"`:                     Yes,
		`in in ["x"]`:                   Yes,
		`"x" == in and not in in ["y"]`: Yes,
		`in not in ["x"]`:               No,
		`on`:                            Unknown,
		`not on or on == false`:         Unknown,
		`on != true and id == 8`:        No,
		`id == 7 or on`:                 Yes,
	} {
		is, err := Parse(expr, columns)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		} else if got := is(row); got != want {
			t.Errorf("%s: %v, not %v", expr, got, want)
		}
	}
}

func TestParseError(t *testing.T) {
	for expr, want := range map[string]Error{
		`id ==`:                        {Column: 5, Reason: `a column or a value is expected, not the end`},
		`nosuch == 1`:                  {Column: 0, Reason: `there is no column nosuch`},
		`id + 1`:                       {Column: 3, Reason: `and, or, or the end is expected, not "+"`},
		`id == "x"`:                    {Column: 6, Reason: `id is a number, and "x" is a text`},
		`id == name`:                   {Column: 0, Reason: `name is a text, and id is a number`},
		``:                             {Column: 0, Reason: `a column or a value is expected, not the end`},
		`"é" == nosuch`:                {Column: 7, Reason: `there is no column nosuch`},
		`words == "a"`:                 {Column: 6, Reason: `words is a list: write any words == TEXT`},
		`any id == 1`:                  {Column: 4, Reason: `id is a number, and any takes a list`},
		`any(words, # startsWith "a")`: {Column: 0, Reason: `any is written without parentheses, as in any holders contains "dockerd"`},
		`len(words) == 0`:              {Column: 0, Reason: `a name alone says that a list is not empty`},
		`name matches "a"`:             {Column: 5, Reason: `=~ is written for matches`},
		`name = "a"`:                   {Column: 5, Reason: `== is written for equal`},
		`name =~ "("`:                  {Column: 8, Reason: "missing closing ): `(`"},
		`name =~ id`:                   {Column: 8, Reason: `a regular expression is expected, in quotation marks`},
		`name == "a`:                   {Column: 8, Reason: `the text has no end`},
		`name =~ "\."`:                 {Column: 8, Reason: `an escape that there is not; in single quotation marks \ stands for itself`},
		`(id == 1`:                     {Column: 8, Reason: `) is expected, not the end`},
		`id in [1`:                     {Column: 8, Reason: `, or ] is expected, not the end`},
		`id in name`:                   {Column: 6, Reason: `name is a text, and in takes a list`},
		`id == 1x`:                     {Column: 6, Reason: `1x is no number`},
		`id == 99999999999P`:           {Column: 6, Reason: `99999999999P is no number`},
		`true < false`:                 {Column: 5, Reason: `true is true or false`},
	} {
		_, err := Parse(expr, columns)
		var fe *Error
		if !errors.As(err, &fe) || fe.Column != want.Column || fe.Reason != want.Reason {
			t.Errorf("%q: %+v, not %+v", expr, err, want)
		}
	}
}

// An expression is read and can be asked, or its mistake stands in it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"id == 1", `"a" in words`, "name =~ '('", "1..", "any words in ['a', \"b\"] and not (id > 3G)", "id not in [0, 1] || !name", `in in ["in"]`, "id == 1EiB", "(((", `any any`, "on != true"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		is, err := Parse(s, columns)
		if err == nil {
			is(row)
			return
		}
		var fe *Error
		if !errors.As(err, &fe) || fe.Column < 0 || fe.Column > utf8.RuneCountInString(s) || strings.Contains(fe.Reason, "\n") {
			t.Errorf("%q: %v", s, err)
		}
	})
}
