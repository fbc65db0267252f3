package jobs

import (
	"reflect"
	"strings"
	"time"
)

// tidy sets every field of a document that cannot be true by itself, whatever the others say, to zero: texts
// that are too long, numbers that nothing counts up to, times that have not been. What a damaged document is
// ended as must not be as large as it was.
func tidy(doc any, now time.Time) { tidyValue(reflect.ValueOf(doc).Elem(), now) }

func tidyValue(v reflect.Value, now time.Time) {
	if t, ok := v.Interface().(time.Time); ok {
		if !t.IsZero() && (t.Before(earliest) || t.After(now.Add(maxAhead))) {
			v.SetZero()
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() > maxText || strings.ContainsRune(v.String(), 0) {
			v.SetZero()
		}
	case reflect.Int, reflect.Int64:
		if v.Int() < 0 || v.Int() > maxCount || v.Type().Kind() == reflect.Int && v.Int() > maxSmallCount {
			v.SetZero()
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tidyValue(v.Field(i), now)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			tidyValue(v.Elem(), now)
		}
	case reflect.Map: // Params, which are in memory alone
		if p, ok := v.Interface().(Params); ok && p.whole() != "" {
			v.SetZero()
		}
	case reflect.Slice:
		for i := range v.Len() {
			tidyValue(v.Index(i), now)
		}
	}
}
