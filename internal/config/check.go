package config

import (
	"reflect"
	"strconv"
	"strings"
)

// check asks every struct that has rules, the outer before the inner. Fields that the file says nothing of are
// asked too: a default may be missing something that only the user knows.
func (d *decoder) check(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.check(v.Elem(), path)
		}
	case reflect.Struct:
		if v.CanAddr() {
			if c, ok := v.Addr().Interface().(Checked); ok {
				c.Check(func(below, problem string) { d.reportAt(join(path, below), problem) })
			}
		}
		d.checkFields(v, path)
	case reflect.Slice:
		for i := range v.Len() {
			d.check(v.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
	}
}

func (d *decoder) checkFields(s reflect.Value, path string) {
	for i := range s.NumField() {
		f := s.Type().Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() || name == "" && option != "inline" {
			continue
		}
		at := path
		if option != "inline" {
			at = join(path, name)
		}
		d.check(s.Field(i), at)
	}
}

// reportAt gives a problem the line of its path, or of the nearest path above that the file has.
func (d *decoder) reportAt(path, problem string) {
	path = strings.TrimSuffix(path, ".")
	line := 0
	for at := path; at != "" && line == 0; at = parent(at) {
		line = d.lines[at]
	}
	if path != "" {
		problem = path + ": " + problem
	}
	d.report(line, "%s", problem)
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)]
}
