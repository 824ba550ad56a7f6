package catalog

// The helpers with which families write their fields: opt is an optional field,
// req a required one.

func opt(name string, t FieldType, doc string) Field { return Field{Name: name, Type: t, Doc: doc} }

func req(name string, t FieldType, doc string) Field {
	return Field{Name: name, Type: t, Required: true, Doc: doc}
}

// secret marks a field whose value is masked before anything is written.
func secret(f Field) Field {
	yes := true
	f.Secret = &yes
	return f
}

// public marks a field that the word list would mask although it is no secret.
func public(f Field) Field {
	no := false
	f.Secret = &no
	return f
}

func fields(lists ...[]Field) []Field {
	var all []Field
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
