package web

import "html/template"

// expressionField is a box for an expression.
type expressionField struct {
	Name, Value, Placeholder string
	Rows                     int
	Mistake                  *filterProblem // in it
	Focus                    bool
}

// wayField offers transports.
type wayField struct {
	Name, Legend string
	Choices      []choice
}

// formFuncs make what templates of forms hand to each other.
func formFuncs() template.FuncMap {
	return template.FuncMap{
		"field": func(name, value, placeholder string, rows int, mistake any, focus bool) expressionField {
			f := expressionField{Name: name, Value: value, Placeholder: placeholder, Rows: rows, Focus: focus}
			switch m := mistake.(type) {
			case *filterProblem:
				f.Mistake = m
			case bool:
				if m {
					f.Mistake = &filterProblem{}
				}
			}
			return f
		},
		"act":       func(name, text string) link { return link{Text: text, Href: name} },
		"pickways":  func(name, legend string, all []choice) wayField { return wayField{name, legend, all} },
		"nameof":    func(name, value string) pair { return pair{name, value} },
		"nothing":   func(says string) emptyState { return emptyState{Says: says} },
		"matcherof": func(v policyPage) policyView { return policyView{Form: v.Form, Kinds: v.Kinds} },
	}
}
