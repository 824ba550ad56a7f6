package config

import (
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// Sample is a configuration file in which every scalar key stands with its
// default and its documentation, all of it commented out. Without the first # of
// each line it is the default configuration.
func Sample() (string, error) {
	var b strings.Builder
	b.WriteString("## Tocsin's configuration, with the defaults. Take the # off the lines that you\n" +
		"## change, and off the section that they stand in; check with\n" +
		"##     tocsin check --config FILE\n" +
		"## and make it work with: systemctl reload tocsin\n")
	c := Default()
	if err := writeSample(&b, reflect.ValueOf(c), ""); err != nil {
		return "", err
	}
	b.WriteString("\n## Lists and the options of sources, by example:\n##\n")
	for line := range strings.Lines(ListExample) {
		b.WriteString("##     " + line)
	}
	return b.String(), nil
}

// writeSample writes the scalars of a section, then the sections in it.
func writeSample(b *strings.Builder, v reflect.Value, indent string) error {
	var sections []int
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Tag.Get("yaml") == "-" {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			sections = append(sections, i)
		case reflect.String, reflect.Bool, reflect.Int64, reflect.Int, reflect.Float64:
			value, err := yaml.Marshal(f.Interface())
			if err != nil {
				return fmt.Errorf("sample: %w", err)
			}
			fmt.Fprintf(b, "\n#%s# %s\n#%s%s: %s", indent, field.Tag.Get("doc"), indent, field.Tag.Get("yaml"), value)
		}
	}
	for _, i := range sections {
		var section strings.Builder
		if err := writeSample(&section, v.Field(i), indent+"  "); err != nil {
			return err
		}
		if section.Len() > 0 { // one of lists alone stands among the examples
			fmt.Fprintf(b, "\n#%s%s:%s", indent, v.Type().Field(i).Tag.Get("yaml"), section.String())
		}
	}
	return nil
}
