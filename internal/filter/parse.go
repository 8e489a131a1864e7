// Package filter is the language in which lists are filtered: that of
// scols-filter(5), which lsns(8) has, with some words more. nstool-ls(1) describes
// it.
package filter

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A parser reads the expression of a filter:
//
//	or      = and { ("or" | "||") and }
//	and     = not { ("and" | "&&") not }
//	not     = ("not" | "!") not | "(" or ")" | compare
//	compare = [ "any" ] operand [ operator operand | [ "not" ] "in" ( operand | "[" operand { "," operand } "]" ) ]
//	operand = column | number | text | "true" | "false"
type parser struct {
	source string
	column func(name string) (Column, bool)
	at     int // behind the token
	token  token
}

// A token is a word, a number, a text or a sign.
type token struct {
	at   int
	kind byte // 'w', '0', '"', or '+' for a sign; 0 at the end
	text string
}

// signs are those that there are, longer ones first.
var signs = []string{"==", "!=", "<=", ">=", "=~", "!~", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ","}

// operators by the words and signs for them.
var operators = map[string]string{
	"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "=~": "=~", "!~": "!~",
	"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
	"contains": "contains", "startswith": "startsWith", "endswith": "endsWith",
}

// instead says what to write for what other languages of filters have.
var instead = map[string]string{
	"matches": "=~ is written for matches", "len": "a name alone says that a list is not empty",
	"any": `any is written without parentheses, as in any holders contains "dockerd"`,
	"all": "there is no all; write not any", "none": "there is no none; write not any",
	"=": "== is written for equal", "#": "any is written before the name of a list, as in any holders == \"x\"",
	"count": "there are no functions", "filter": "there are no functions", "let": "there are no variables",
}

func (p *parser) fail(at int, reason string) {
	panic(&Error{Expr: p.source, Column: utf8.RuneCountInString(p.source[:at]), Reason: reason})
}

// Parse reads an expression. The function returns the column that has a name, in
// any case, if there is one. What is wrong with the expression is an [*Error].
func Parse(source string, column func(name string) (Column, bool)) (t Test, err error) {
	defer func() {
		if r := recover(); r != nil {
			mistake, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			t, err = nil, mistake
		}
	}()
	p := &parser{source: source, column: column}
	p.next()
	t = p.or()
	if p.token.kind != 0 {
		p.unexpected("and, or, or the end")
	}
	return t, nil
}

// unexpected says what could have stood where something else does.
func (p *parser) unexpected(want string) {
	if hint := instead[strings.ToLower(p.token.text)]; hint != "" && p.token.kind != '"' {
		p.fail(p.token.at, hint)
	}
	found := strconv.Quote(p.token.text)
	if p.token.kind == 0 {
		found = "the end"
	}
	p.fail(p.token.at, want+" is expected, not "+found)
}

// next reads a token.
func (p *parser) next() {
	rest := strings.TrimLeft(p.source[p.at:], " \t\r\n")
	at := len(p.source) - len(rest)
	end := func(is func(c byte) bool) string {
		n := 0
		for n < len(rest) && is(rest[n]) {
			n++
		}
		return rest[:n]
	}
	t := token{at: at}
	switch {
	case rest == "":
	case isWord(rest[0]):
		t.text, t.kind = end(isWord), 'w'
		if rest[0] >= '0' && rest[0] <= '9' {
			t.kind = '0'
		}
	case rest[0] == '-' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
		rest = rest[1:]
		t.text, t.kind = "-"+end(isWord), '0'
		rest = p.source[at:]
	case rest[0] == '"' || rest[0] == '\'':
		t.text, t.kind = p.quoted(rest, at), '"'
		p.token = t
		return
	default:
		t.kind = '+'
		for _, s := range signs {
			if strings.HasPrefix(rest, s) {
				t.text = s
				break
			}
		}
		if t.text == "" {
			_, n := utf8.DecodeRuneInString(rest)
			t.text = rest[:n]
		}
	}
	p.token, p.at = t, at+len(t.text)
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// quoted reads a text: with the escapes of Go in double quotation marks, as it
// stands in single ones.
func (p *parser) quoted(rest string, at int) (text string) {
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == '\\' && rest[0] == '"':
			i++
		case rest[i] == rest[0]:
			p.at = at + i + 1
			if rest[0] == '\'' {
				return rest[1:i]
			}
			text, err := strconv.Unquote(strings.ReplaceAll(rest[:i+1], "\n", `\n`))
			if err != nil {
				p.fail(at, `an escape that there is not; in single quotation marks \ stands for itself`)
			}
			return text
		}
	}
	p.fail(at, "the text has no end")
	return ""
}

// sees reports whether one of these words or signs comes next.
func (p *parser) sees(words ...string) bool {
	return p.token.kind != '"' && slices.Contains(words, strings.ToLower(p.token.text))
}

// takes reads one of these words or signs, if it comes next.
func (p *parser) takes(words ...string) bool {
	sees := p.sees(words...)
	if sees {
		p.next()
	}
	return sees
}

func (p *parser) or() Test {
	left := p.and()
	for p.takes("or", "||") {
		a, b := left, p.and()
		left = func(cells []Cell) Truth { return max(a(cells), b(cells)) }
	}
	return left
}

func (p *parser) and() Test {
	left := p.not()
	for p.takes("and", "&&") {
		a, b := left, p.not()
		left = func(cells []Cell) Truth { return min(a(cells), b(cells)) }
	}
	return left
}

func (p *parser) not() Test {
	switch {
	case p.takes("not", "!"):
		a := p.not()
		return func(cells []Cell) Truth { return Yes - a(cells) }
	case p.takes("("):
		a := p.or()
		if !p.takes(")") {
			p.unexpected(")")
		}
		return a
	}
	return p.compare()
}

func (p *parser) compare() Test {
	start := p.token.at
	each := p.takes("any")
	if each && p.sees("(") {
		p.fail(start, instead["any"])
	}
	left := p.operand()
	if each && left.class != List {
		p.fail(left.at, left.name+" is "+classNames[left.class]+", and any takes a list")
	}
	at := p.token.at
	if not := p.takes("not"); not || p.sees("in") {
		if !p.takes("in") {
			p.unexpected("in")
		}
		in := p.in(left, each)
		if not {
			return func(cells []Cell) Truth { return Yes - in(cells) }
		}
		return in
	}
	operator := operators[strings.ToLower(p.token.text)]
	if operator == "" || p.token.kind == '"' {
		if each {
			p.unexpected("a comparison")
		}
		return left.alone()
	}
	p.next()
	return p.compares(left, each, operator, p.operand(), at)
}

// alone is a name that no operator follows.
func (o operand) alone() Test {
	return func(cells []Cell) Truth {
		v, known := o.read(cells)
		if !known {
			return Unknown
		}
		return truthOf(v.isSet())
	}
}

// in is true for what is among the operands that follow, or in the list that does.
func (p *parser) in(left operand, each bool) Test {
	if !p.takes("[") {
		at := p.token.at
		right := p.operand()
		if right.class != List {
			p.fail(at, right.name+" is "+classNames[right.class]+", and in takes a list")
		}
		return p.compares(right, true, "==", left, left.at)
	}
	never := Test(func([]Cell) Truth { return No })
	for !p.takes("]") {
		at := p.token.at
		a, b := never, p.compares(left, each, "==", p.operand(), at)
		never = func(cells []Cell) Truth { return max(a(cells), b(cells)) }
		if !p.takes(",") && !p.sees("]") {
			p.unexpected(", or ]")
		}
	}
	return never
}

// compares is a comparison: of the left operand, or if each, of any text of its list.
func (p *parser) compares(left operand, each bool, operator string, right operand, at int) Test {
	if left.class == List && !each {
		if operator != "contains" {
			p.fail(at, left.name+" is a list: write any "+left.name+" "+operator+" TEXT")
		}
		each, operator = true, "==" // a list contains what is in it
	}
	items := left
	if each {
		items.class = Text
	}
	is := p.relation(&items, operator, &right, at)
	return func(cells []Cell) Truth {
		l, known := items.read(cells)
		r, alsoKnown := right.read(cells)
		switch {
		case !known || !alsoKnown:
			return Unknown
		case !each:
			return truthOf(is(l, r))
		}
		return truthOf(slices.ContainsFunc(l.list, func(text string) bool {
			return is(operand{class: Text, text: text}, r)
		}))
	}
}

// relation returns what an operator says of two operands, which it makes of one
// class.
func (p *parser) relation(left *operand, operator string, right *operand, at int) func(l, r operand) bool {
	switch operator {
	case "=~", "!~":
		if right.isColumn || right.class != Text {
			p.fail(right.at, "a regular expression is expected, in quotation marks")
		}
		match, err := regexp.Compile(right.text)
		if err != nil {
			p.fail(right.at, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		return func(l, _ operand) bool { return match.MatchString(l.text) == (operator == "=~") }
	case "contains":
		return textual(strings.Contains)
	case "startsWith":
		return textual(strings.HasPrefix)
	case "endsWith":
		return textual(strings.HasSuffix)
	}
	if !right.isColumn {
		p.convert(right, *left)
	} else {
		p.convert(left, *right)
	}
	if left.class == Flag && operator != "==" && operator != "!=" {
		p.fail(at, left.name+" is true or false")
	}
	return func(l, r operand) bool {
		order := l.order(r)
		switch operator {
		case "==":
			return order == 0
		case "!=":
			return order != 0
		case "<":
			return order < 0
		case "<=":
			return order <= 0
		case ">":
			return order > 0
		}
		return order >= 0
	}
}

func textual(is func(s, part string) bool) func(l, r operand) bool {
	return func(l, r operand) bool { return is(l.text, r.text) }
}

// convert makes a value that stands in the expression one of the class of what it
// is compared with: "77" may be a number, and 77 a name.
func (p *parser) convert(o *operand, with operand) {
	if !o.isColumn && with.class == Text && o.class == Number {
		o.class = Text
	}
	if n, err := strconv.ParseInt(o.text, 10, 64); !o.isColumn && with.class == Number && o.class == Text && err == nil {
		o.num, o.class = n, Number
	}
	if o.class != with.class {
		p.fail(o.at, with.name+" is "+classNames[with.class]+", and "+o.name+" is "+classNames[o.class])
	}
}

// operand reads a column or a value.
func (p *parser) operand() operand {
	t := p.token
	o := operand{name: t.text, at: t.at, text: t.text}
	switch t.kind {
	case '"':
		o.class, o.name = Text, strconv.Quote(t.text)
	case '0':
		o.class, o.num = Number, p.number(t)
	case 'w':
		column, ok := p.column(t.text)
		word := strings.ToLower(t.text)
		switch {
		case ok:
			o = operand{name: column.Name, class: column.Class, cell: column.Cell, isColumn: true, at: t.at}
		case word == "true" || word == "false":
			o.class = Flag
			if word == "true" {
				o.num = 1
			}
		case instead[word] != "":
			p.fail(t.at, instead[word])
		default:
			p.fail(t.at, "there is no column "+t.text)
		}
	default:
		p.unexpected("a column or a value")
	}
	p.next()
	return o
}

// number reads a whole number, which may have a unit of 1024, 1024² and so on.
func (p *parser) number(t token) int64 {
	digits := strings.TrimRight(strings.TrimSuffix(t.text, "iB"), "KMGTPE")
	n, err := strconv.ParseInt(digits, 10, 64)
	if unit := strings.TrimSuffix(t.text[len(digits):], "iB"); unit != "" {
		shift := 10 * (strings.IndexByte("KMGTPE", unit[0]) + 1)
		if len(unit) > 1 || n<<shift>>shift != n {
			p.fail(t.at, t.text+" is no number")
		}
		n <<= shift
	}
	if err != nil {
		p.fail(t.at, t.text+" is no number")
	}
	return n
}
