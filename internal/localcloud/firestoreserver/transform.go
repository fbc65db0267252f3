package firestoreserver

import (
	"math"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// transform is one validated field transform.
type transform struct {
	path  fsvalue.FieldPath
	now   bool // REQUEST_TIME
	apply func(fields map[string]*fsvalue.Value, at int64) *fsvalue.Value
}

func parseTransforms(list []*firestorepb.DocumentTransform_FieldTransform) ([]transform, error) {
	if len(list) > maxTransforms {
		return nil, invalid("cannot have more than %d field transforms on a single document", maxTransforms)
	}
	out := make([]transform, 0, len(list))
	for _, ft := range list {
		p, err := fsvalue.ParseFieldPath(ft.GetFieldPath())
		if err != nil {
			return nil, err
		}
		if p[0] == fsvalue.NameField {
			return nil, invalid("The name %s cannot be transformed.", fsvalue.NameField)
		}
		for _, other := range out {
			if len(p) != len(other.path) && (p.HasPrefix(other.path) || other.path.HasPrefix(p)) {
				return nil, invalid("Transforms of %s and %s conflict: one is in the other.", other.path, p)
			}
		}
		t, err := parseTransform(p, ft)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func parseTransform(p fsvalue.FieldPath, ft *firestorepb.DocumentTransform_FieldTransform) (transform, error) {
	switch op := ft.GetTransformType().(type) {
	case *firestorepb.DocumentTransform_FieldTransform_SetToServerValue:
		if op.SetToServerValue != firestorepb.DocumentTransform_FieldTransform_REQUEST_TIME {
			return transform{}, invalid("Unknown server value.")
		}
		return transform{path: p, now: true, apply: func(fields map[string]*fsvalue.Value, at int64) *fsvalue.Value {
			// As documented: the time of the request, in whole milliseconds.
			v := &fsvalue.Value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamp(at - at%1000)}}
			setField(fields, p, v)
			return v
		}}, nil
	case *firestorepb.DocumentTransform_FieldTransform_Increment:
		return numeric(p, op.Increment, add)
	case *firestorepb.DocumentTransform_FieldTransform_Maximum:
		return numeric(p, op.Maximum, func(stored, operand *fsvalue.Value) *fsvalue.Value { return extreme(stored, operand, 1) })
	case *firestorepb.DocumentTransform_FieldTransform_Minimum:
		return numeric(p, op.Minimum, func(stored, operand *fsvalue.Value) *fsvalue.Value { return extreme(stored, operand, -1) })
	case *firestorepb.DocumentTransform_FieldTransform_AppendMissingElements:
		return elements(p, op.AppendMissingElements, union)
	case *firestorepb.DocumentTransform_FieldTransform_RemoveAllFromArray:
		return elements(p, op.RemoveAllFromArray, without)
	}
	return transform{}, invalid("A field transform must have a type.")
}

func isNumber(v *fsvalue.Value) bool {
	c := fsvalue.ClassOf(v)
	return v != nil && (c == fsvalue.ClassNumber || c == fsvalue.ClassNaN)
}

func numeric(p fsvalue.FieldPath, operand *fsvalue.Value, f func(stored, operand *fsvalue.Value) *fsvalue.Value) (transform, error) {
	if !isNumber(operand) {
		return transform{}, invalid("The operand of a numeric transform must be an integer or a double.")
	}
	return transform{path: p, apply: func(fields map[string]*fsvalue.Value, _ int64) *fsvalue.Value {
		v := cloneValue(operand)
		if stored, ok := p.Get(fields); ok && isNumber(stored) {
			v = f(stored, operand)
		}
		setField(fields, p, v)
		return v
	}}, nil
}

func isInteger(v *fsvalue.Value) bool {
	_, ok := v.GetValueType().(*firestorepb.Value_IntegerValue)
	return ok
}

func double(v *fsvalue.Value) float64 {
	if isInteger(v) {
		return float64(v.GetIntegerValue())
	}
	return v.GetDoubleValue()
}

// add saturates integers and turns to double as soon as one side is one.
func add(a, b *fsvalue.Value) *fsvalue.Value {
	if !isInteger(a) || !isInteger(b) {
		return &fsvalue.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: double(a) + double(b)}}
	}
	x, y := a.GetIntegerValue(), b.GetIntegerValue()
	sum := x + y
	switch {
	case x > 0 && y > 0 && sum < 0:
		sum = math.MaxInt64
	case x < 0 && y < 0 && sum >= 0:
		sum = math.MinInt64
	}
	return &fsvalue.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: sum}}
}

// extreme keeps the stored value when both are equal; NaN wins over all.
func extreme(stored, operand *fsvalue.Value, sign int) *fsvalue.Value {
	if fsvalue.IsNaN(stored) {
		return cloneValue(stored)
	}
	if fsvalue.IsNaN(operand) || fsvalue.Compare(operand, stored)*sign > 0 {
		return cloneValue(operand)
	}
	return cloneValue(stored)
}

func elements(p fsvalue.FieldPath, operand *firestorepb.ArrayValue, f func(stored, operand []*fsvalue.Value) []*fsvalue.Value) (transform, error) {
	check := &fsvalue.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: operand}}
	if err := fsvalue.PrepareValue(check); err != nil {
		return transform{}, err
	}
	return transform{path: p, apply: func(fields map[string]*fsvalue.Value, _ int64) *fsvalue.Value {
		stored, _ := p.Get(fields)
		values := f(stored.GetArrayValue().GetValues(), cloneValue(check).GetArrayValue().GetValues())
		setField(fields, p, &fsvalue.Value{ValueType: &firestorepb.Value_ArrayValue{
			ArrayValue: &firestorepb.ArrayValue{Values: values},
		}})
		return &fsvalue.Value{ValueType: &firestorepb.Value_NullValue{}}
	}}, nil
}

func contains(list []*fsvalue.Value, v *fsvalue.Value) bool {
	for _, e := range list {
		if fsvalue.Equal(e, v) {
			return true
		}
	}
	return false
}

func union(stored, operand []*fsvalue.Value) []*fsvalue.Value {
	for _, v := range operand {
		if !contains(stored, v) {
			stored = append(stored, v)
		}
	}
	return stored
}

func without(stored, operand []*fsvalue.Value) []*fsvalue.Value {
	kept := make([]*fsvalue.Value, 0, len(stored))
	for _, v := range stored {
		if !contains(operand, v) {
			kept = append(kept, v)
		}
	}
	return kept
}
