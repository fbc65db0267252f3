package wire

// Check reports [ErrMalformed] unless b is a well-formed value through and through, nested at most as deep as
// a [Printer] follows.
func Check(b []byte) error { return check(b, 0) }

func check(b []byte, depth int) error {
	v, err := Parse(b)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return ErrMalformed
	}
	switch v.Kind {
	case Geo:
		if _, _, ok := parseGeo(v.Data); !ok {
			return ErrMalformed
		}
	case Array:
		items := Elements(v)
		for items.Next() {
			if err := check(items.Value, depth+1); err != nil {
				return err
			}
		}
		return items.Err()
	case Map:
		fields := MapFields(v)
		for fields.Next() {
			if err := check(fields.Value, depth+1); err != nil {
				return err
			}
		}
		return fields.Err()
	}
	return nil
}
