package vip

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"exportd/internal/vip/wire"
	"exportd/jobs"
)

// Position is a place in the order of a query's rows: at the document ID among those with the sort key Key,
// or, where ID is empty, before all of them.
type Position struct {
	// Key is the bytes of the google.firestore.v1.Value of the sort field.
	Key []byte
	// ID is a document id.
	ID string
}

// Range is the rows of a query from From up to and without To, in the query's order. Nil is the query's own
// begin or end.
type Range struct {
	From, To *Position
}

// TimeKey returns the sort key of a timestamp, rounded down to microseconds as Firestore stores it.
func TimeKey(t time.Time) []byte {
	t = t.UTC().Truncate(time.Microsecond)
	var inner []byte
	if s := t.Unix(); s != 0 {
		inner = binary.AppendUvarint(append(inner, 1<<3), uint64(s))
	}
	if n := t.Nanosecond(); n != 0 {
		inner = binary.AppendUvarint(append(inner, 2<<3), uint64(n))
	}
	return append([]byte{10<<3 | 2, byte(len(inner))}, inner...)
}

// DoubleKey returns the sort key of a double.
func DoubleKey(f float64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{3<<3 | 1}, math.Float64bits(f))
}

// TextKey returns the sort key of a text of less than 16 KiB.
func TextKey(s string) []byte {
	key := binary.AppendUvarint([]byte{17<<3&0x7f | 0x80 | 2, 1}, uint64(len(s))) // the tag has two bytes
	return append(key, s...)
}

// KeyText returns the text of a sort key that is one.
func KeyText(key []byte) (string, bool) {
	v, err := wire.Parse(key)
	if err != nil || v.Kind != wire.String {
		return "", false
	}
	return string(v.Data), true
}

// KeyTime returns the time of a sort key that is a timestamp.
func KeyTime(key []byte) (time.Time, bool) {
	v, err := wire.Parse(key)
	if err != nil || v.Kind != wire.Time {
		return time.Time{}, false
	}
	return time.Unix(int64(v.Num), int64(v.Nanos)).UTC(), true
}

// KeyDouble returns the number of a sort key that is a double or an integer, the latter rounded to a double.
func KeyDouble(key []byte) (float64, bool) {
	v, err := wire.Parse(key)
	switch {
	case err != nil:
	case v.Kind == wire.Double:
		return math.Float64frombits(v.Num), true
	case v.Kind == wire.Int:
		return float64(int64(v.Num)), true
	}
	return 0, false
}

// ErrNoSortKey says that a document lacks the field that its query sorts by.
var ErrNoSortKey = errors.New("document lacks the sort field")

// PositionOf returns the place of a document in the order of q. A document without the sort field, which no
// query returns, is [ErrNoSortKey].
func (q *Query) PositionOf(doc []byte) (Position, error) {
	key, id, err := q.Keys().Of(doc)
	if err != nil {
		return Position{}, err
	}
	return Position{Key: bytes.Clone(key), ID: string(id)}, nil
}

// Keys reads the places of many documents; see [Query.Keys].
type Keys struct{ finder wire.Finder }

// Keys returns a reader of sort keys. It is not safe for concurrent use.
func (q *Query) Keys() *Keys { return &Keys{wire.Finder{Field: q.SortField}} }

// Of finds the sort key and the id of a document. Both refer to doc.
func (k *Keys) Of(doc []byte) (key, id []byte, err error) {
	name, key, err := k.finder.Find(doc)
	switch {
	case err != nil:
		return nil, nil, err
	case len(key) == 0 || len(name) == 0:
		return nil, nil, ErrNoSortKey
	}
	return key, wire.ID(name), nil
}

// ErrBadPosition says that a string is not a position or page token, or is one of another query.
var ErrBadPosition = errors.New("not a valid position")

const (
	positionVersion = 1
	tokenVersion    = 2
	// maxToken bounds what is parsed, in characters: an id has up to 1,500 bytes and the sort keys of sane
	// rows a dozen.
	maxToken = 8 << 10
)

// String returns p in a compact form for documents and URLs, which
// [ParsePosition] reads.
func (p Position) String() string {
	return encode([]byte{positionVersion}, p)
}

// Words is p as operators read it, who see no data: the time that rows are sorted by, and the id of the
// document. Other sort keys are left out.
func (p Position) Words() string {
	var words []string
	if t, ok := KeyTime(p.Key); ok {
		words = append(words, t.Format(time.RFC3339Nano))
	}
	if p.ID != "" {
		words = append(words, "document "+p.ID)
	}
	if len(words) == 0 {
		return "a row"
	}
	return strings.Join(words, ", ")
}

func encode(b []byte, p Position) string {
	b = binary.AppendUvarint(b, uint64(len(p.Key)))
	b = append(append(b, p.Key...), p.ID...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParsePosition reads what [Position.String] wrote. Any other string is
// [ErrBadPosition].
func ParsePosition(s string) (Position, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != positionVersion {
		return Position{}, ErrBadPosition
	}
	return decode(b[1:])
}

func decode(b []byte) (Position, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || used > 1 && b[used-1] == 0 || n > uint64(len(b)-used) {
		return Position{}, ErrBadPosition
	}
	key, id := b[used:used+int(n)], string(b[used+int(n):])
	if v, err := wire.Parse(key); err != nil || v.Kind == wire.None || wire.Check(key) != nil {
		return Position{}, ErrBadPosition
	}
	if id != "" && !ValidID(id) {
		return Position{}, ErrBadPosition
	}
	return Position{Key: key, ID: id}, nil
}

// PageToken returns the token of the page of q that begins after p.
func (q *Query) PageToken(p Position) string {
	scope := q.scope()
	return encode(append([]byte{tokenVersion}, scope[:]...), p)
}

// ParsePageToken reads a page token of this very query: the rows wanted are those after the returned
// position. The error is [ErrBadPosition].
func (q *Query) ParsePageToken(s string) (Position, error) {
	if len(s) > maxToken {
		return Position{}, ErrBadPosition
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	scope := q.scope()
	if err != nil || len(b) < 9 || b[0] != tokenVersion || !bytes.Equal(b[1:9], scope[:]) {
		return Position{}, fmt.Errorf("%w of this query", ErrBadPosition)
	}
	p, err := decode(b[9:])
	if err != nil {
		return Position{}, ErrBadPosition
	}
	// A caller's bytes: of a query that is bounded by times nothing but times goes on, of others nothing that
	// names another document or nests.
	v, _ := wire.Parse(p.Key)
	bounded := !q.From.IsZero() || !q.To.IsZero()
	if bounded && v.Kind != wire.Time || v.Kind >= wire.Reference {
		return Position{}, ErrBadPosition
	}
	return p, nil
}

// OlderThan is the position before the newest rows that are strictly older than t, where the newest is first.
// The error is [ErrBadPosition].
func OlderThan(t time.Time) (Position, error) {
	// Stored times are whole microseconds: the newest older one is the last microsecond that begins before t.
	last := t.UTC().Add(-time.Nanosecond).Truncate(time.Microsecond)
	if !jobs.ValidTime(last) {
		return Position{}, ErrBadPosition
	}
	return Position{Key: TimeKey(last)}, nil
}
