package output

import "testing"

// What is not known satisfies neither a comparison nor its contrary; what is known
// decides where it can.
func TestFilterUnknown(t *testing.T) {
	row := [][]cellValue{{{state: hidden}, textValue("web"), {state: hidden}}}
	known := [][]cellValue{{numberValue(0), textValue("web"), listValue([]string{"a"})}}
	for expr, wants := range map[string]struct{ unknown, known bool }{
		`id == 0`:                                    {false, true},
		`id != 0`:                                    {false, false},
		`id != 7`:                                    {false, true},
		`not (id == 0)`:                              {false, false},
		`not (id == 7)`:                              {false, true},
		`!(id == 7)`:                                 {false, true},
		`not not (id == 0)`:                          {false, true},
		`id < 5`:                                     {false, true},
		`id >= 5`:                                    {false, false},
		`id in [0, 1]`:                               {false, true},
		`id not in [1, 2]`:                           {false, true},
		`ID == 0`:                                    {false, true},
		`id == 0 or name == "web"`:                   {true, true},
		`id == 7 or name == "web"`:                   {true, true},
		`id == 0 and name == "web"`:                  {false, true},
		`not (id == 7 and name == "web")`:            {false, true},
		`not (id == 0 and name == "db")`:             {true, true},
		`not (id == 0 or name == "db")`:              {false, false},
		`not (id == 7 or name == "db")`:              {false, true},
		`not (not (id == 0) and name == "web")`:      {false, true},
		`not (not (id == 7) or name == "web")`:       {false, false},
		`id == 0 or id != 0`:                         {false, true},
		`id == 0 || !(name == "web")`:                {false, true},
		`id == 0 && !(name == "db")`:                 {false, true},
		`"a" in words`:                               {false, true},
		`not ("b" in words)`:                         {false, true},
		`any words == "a"`:                           {false, true},
		`name in ["web", "db"]`:                      {true, true},
		`name in ["web"] and id in [0]`:              {false, true},
		`name == "web" and not (name == "db")`:       {true, true},
		`(id == 0 or name == "web") and 1 == 1`:      {true, true},
		`not words`:                                  {false, false},
		`not (name startsWith "w") or words`:         {false, true},
		`id`:                                         {false, false},
		`not any words == "b"`:                       {false, true},
		`id in [0] or name != "web"`:                 {false, true},
		`true`:                                       {true, true},
		`not false`:                                  {true, true},
		`not (name =~ "^x" or "b" in words)`:         {false, true},
		`not (id == 0 and "a" in words) or id == 0`:  {false, true},
		`(id == 7 or "b" in words) or name == "web"`: {true, true},
	} {
		f, err := NewFilter(testColumns, expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		for _, c := range []struct {
			what string
			rows [][]cellValue
			want bool
		}{{"unknown", row, wants.unknown}, {"known", known, wants.known}} {
			if kept := f.Keep(&View{}, c.rows); (len(kept) == 1) != c.want {
				t.Errorf("%s of what is %s: %d rows", expr, c.what, len(kept))
			}
		}
	}
}
