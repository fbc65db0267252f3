package fsvalue

import (
	"math"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Limits on documents, from the product's quota page.
const (
	MaxDocumentBytes  = 1 << 20               // by [DocumentSize]
	MaxValueBytes     = MaxDocumentBytes - 89 // one value
	MaxFieldNameBytes = 1500
	MaxFieldPathBytes = 1500
	MaxDepth          = 20   // nesting of maps and arrays
	MaxDimensions     = 2048 // of a vector
)

// Timestamps a value may hold, in Unix seconds: years 1 to 9999.
var (
	minSeconds = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	maxSeconds = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// PrepareDocument checks what is about to be stored at p and normalises it in place (timestamps are rounded
// down to microseconds). The error is an INVALID_ARGUMENT status naming the rule broken.
func PrepareDocument(p Path, fields map[string]*Value) error {
	if err := prepareMap(fields, 0); err != nil {
		return err
	}
	size := p.Size() + documentOverhead
	for k, v := range fields {
		n := ValueSize(v)
		if n > MaxValueBytes {
			return invalidf("The value of property %q is longer than %d bytes.", k, MaxValueBytes)
		}
		size += stringSize(k) + n
	}
	if size > MaxDocumentBytes {
		// The recorded text groups thousands, in this sentence only.
		return invalidf("%s", message.NewPrinter(language.English).Sprintf(
			"Document '%s' cannot be written because its size (%d bytes) exceeds the maximum allowed size of %d bytes.",
			p.String(), size, MaxDocumentBytes))
	}
	return nil
}

// PrepareValue does the same for a single value such as a transform's operand or a query's operand. Size is
// not checked.
func PrepareValue(v *Value) error { return prepareValue(v, 0) }

// prepareMap checks the fields of a document (depth 0) or of a map inside depth containers.
func prepareMap(fields map[string]*Value, depth int) error {
	for k, v := range fields {
		switch {
		case k == "":
			return invalidf("Property name must not be empty.")
		case len(k) > MaxFieldNameBytes:
			return invalidf("Property name is longer than %d bytes.", MaxFieldNameBytes)
		case !utf8.ValidString(k):
			return invalidf("Property name is not valid UTF-8.")
		case isReserved(k):
			return invalidf("Property name %q is invalid because it is reserved.", k)
		}
		if err := prepareValue(v, depth); err != nil {
			return err
		}
	}
	return nil
}

func prepareValue(v *Value, depth int) error {
	switch t := v.GetValueType().(type) {
	case *firestorepb.Value_NullValue, *firestorepb.Value_BooleanValue, *firestorepb.Value_IntegerValue,
		*firestorepb.Value_DoubleValue, *firestorepb.Value_BytesValue:
		return nil
	case *firestorepb.Value_TimestampValue:
		return prepareTimestamp(t.TimestampValue)
	case *firestorepb.Value_StringValue:
		if !utf8.ValidString(t.StringValue) {
			return invalidf("String value is not valid UTF-8.")
		}
		return nil
	case *firestorepb.Value_ReferenceValue:
		_, err := ParseDocument(t.ReferenceValue)
		return err
	case *firestorepb.Value_GeoPointValue:
		return checkGeo(t.GeoPointValue)
	case *firestorepb.Value_ArrayValue:
		return prepareArray(t.ArrayValue.GetValues(), depth+1)
	case *firestorepb.Value_MapValue:
		if depth++; depth > MaxDepth {
			return errTooDeep()
		}
		if _, typed := t.MapValue.GetFields()[vectorTypeKey]; typed {
			return checkVector(v)
		}
		return prepareMap(t.MapValue.GetFields(), depth)
	case nil:
		return invalidf("Value has no type set.")
	default:
		return invalidf("Value of type %T cannot be stored.", t)
	}
}

func errTooDeep() error {
	return invalidf("Maps and arrays are nested more than %d levels deep.", MaxDepth)
}

func prepareArray(values []*Value, depth int) error {
	if depth > MaxDepth {
		return errTooDeep()
	}
	for _, e := range values {
		if _, nested := e.GetValueType().(*firestorepb.Value_ArrayValue); nested {
			return invalidf("Cannot convert an array value in an array value.")
		}
		if err := prepareValue(e, depth); err != nil {
			return err
		}
	}
	return nil
}

func prepareTimestamp(t *timestamppb.Timestamp) error {
	if t.GetSeconds() < minSeconds || t.GetSeconds() > maxSeconds || t.GetNanos() < 0 || t.GetNanos() >= 1e9 {
		return invalidf("Timestamp is out of range.")
	}
	if t != nil {
		t.Nanos -= t.Nanos % 1000
	}
	return nil
}

func checkGeo(g *latlng.LatLng) error {
	lat, lng := g.GetLatitude(), g.GetLongitude()
	// The negated form refuses NaN too.
	if !(math.Abs(lat) <= 90) {
		return invalidf("Latitude %v is not in [-90, 90].", lat)
	}
	if !(math.Abs(lng) <= 180) {
		return invalidf("Longitude %v is not in [-180, 180].", lng)
	}
	return nil
}

func checkVector(v *Value) error {
	elements, ok := Vector(v)
	if !ok {
		return invalidf("Map key %q is reserved.", vectorTypeKey)
	}
	if len(elements) == 0 || len(elements) > MaxDimensions {
		return invalidf("Vector has %d dimensions; it must have 1 to %d.", len(elements), MaxDimensions)
	}
	for _, e := range elements {
		if _, ok := e.GetValueType().(*firestorepb.Value_DoubleValue); !ok {
			return invalidf("Vector elements must be doubles.")
		}
	}
	return nil
}
