package fsquery

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Numbers of fields in the wire form of Document, of an entry of its map, and of Value.
const (
	wireFields  = 2
	wireKey     = 1
	wireValue   = 2
	wireInteger = 2
	wireDouble  = 3
)

// AddWire takes one row in the wire form of a Document's fields, unless it lacks an aggregated field. It is
// AddRow without the rest of the document, of which decoding is nearly all that a sum would cost.
func (g *Aggregator) AddWire(body []byte) error {
	var found [maxAggregations][]byte
	open := len(g.agg.Fields)
	for b := body; len(b) > 0 && open > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if num != wireFields || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		entry, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		key, value, err := wireEntry(entry)
		if err != nil {
			return err
		}
		for i, f := range g.agg.Fields {
			if found[i] == nil && f[0] == string(key) {
				found[i] = value
				open--
			}
		}
	}
	if open > 0 {
		return nil
	}
	return g.addWireValues(found[:len(g.agg.Fields)])
}

// wireEntry splits an entry of a map. A value is never empty: what is stored has a kind.
func wireEntry(b []byte) (key, value []byte, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, nil, protowire.ParseError(n)
		}
		b = b[n:]
		part, n := []byte(nil), protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return nil, nil, protowire.ParseError(n)
		}
		if typ == protowire.BytesType {
			part, _ = protowire.ConsumeBytes(b)
		}
		b = b[n:]
		switch num {
		case wireKey:
			key = part
		case wireValue:
			value = part
		}
	}
	return key, value, nil
}

// addWireValues adds the values of top-level fields, of which the aggregated ones may lie deeper.
func (g *Aggregator) addWireValues(found [][]byte) error {
	var nested [maxAggregations]*fsvalue.Value
	for i, f := range g.agg.Fields {
		if len(f) == 1 {
			continue
		}
		var top fsvalue.Value
		if err := proto.Unmarshal(found[i], &top); err != nil {
			return err
		}
		v, ok := f.Get(map[string]*fsvalue.Value{f[0]: &top})
		if !ok {
			return nil
		}
		nested[i] = v
	}
	g.rows++
	for i := range g.agg.Fields {
		if nested[i] != nil {
			g.sums[i].add(nested[i])
		} else if err := g.sums[i].addWire(found[i]); err != nil {
			return err
		}
	}
	return nil
}

// addWire is add of a value in wire form.
func (t *total) addWire(b []byte) error {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return protowire.ParseError(n)
	}
	switch {
	case num == wireInteger && typ == protowire.VarintType:
		i, n := protowire.ConsumeVarint(b[n:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		t.addInteger(int64(i))
	case num == wireDouble && typ == protowire.Fixed64Type:
		x, n := protowire.ConsumeFixed64(b[n:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		t.numbers++
		t.doubles = true
		t.addDouble(math.Float64frombits(x))
	}
	return nil
}
