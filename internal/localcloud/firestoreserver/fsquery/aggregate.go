package fsquery

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strconv"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const maxAggregations = 5

// AggregateKind is what an aggregation computes.
type AggregateKind uint8

// The kinds.
const (
	Count AggregateKind = iota
	Sum
	Average
)

// Aggregate is one result asked for.
type Aggregate struct {
	Alias string
	Kind  AggregateKind
	Field fsvalue.FieldPath // of Sum and Average
	UpTo  int64             // of Count; 0 is no bound
}

// Aggregation is a valid aggregation request in normal form.
type Aggregation struct {
	Query      *Query
	Aggregates []Aggregate
	// Fields are the distinct fields summed or averaged, sorted. A document that lacks one of them counts
	// nowhere.
	Fields []fsvalue.FieldPath
}

// ParseAggregation validates and normalises an aggregation request; see [Parse].
func ParseAggregation(parent fsvalue.Path, q *firestorepb.StructuredAggregationQuery) (*Aggregation, error) {
	if q.GetStructuredQuery() == nil {
		return nil, invalidf("Aggregation query has no structured query.")
	}
	query, err := Parse(parent, q.GetStructuredQuery())
	if err != nil {
		return nil, err
	}
	switch n := len(q.GetAggregations()); {
	case n == 0:
		return nil, invalidf("Aggregation query must have at least one aggregation.")
	case n > maxAggregations:
		return nil, invalidf("The maximum number of aggregations allowed in an aggregation query is %d. Received: %d", maxAggregations, n)
	}
	out := &Aggregation{Query: query}
	unnamed := 0
	for _, a := range q.GetAggregations() {
		agg, err := parseAggregate(a)
		if err != nil {
			return nil, err
		}
		if agg.Alias == "" {
			unnamed++
			agg.Alias = "field_" + strconv.Itoa(unnamed)
		}
		if slices.ContainsFunc(out.Aggregates, func(o Aggregate) bool { return o.Alias == agg.Alias }) {
			return nil, invalidf("Aggregation aliases contain duplicate alias: %s", agg.Alias)
		}
		out.Aggregates = append(out.Aggregates, agg)
		if agg.Kind != Count {
			out.Fields = append(out.Fields, agg.Field)
		}
	}
	slices.SortFunc(out.Fields, fsvalue.FieldPath.Compare)
	out.Fields = slices.CompactFunc(out.Fields, fsvalue.FieldPath.Equal)
	return out, out.checkNameOrder(q.GetStructuredQuery())
}

// checkNameOrder refuses what would need an index with fields after the name: a query that orders or filters
// by the name has it behind its other orders, and each field that is summed up must be one of these.
func (a *Aggregation) checkNameOrder(q *firestorepb.StructuredQuery) error {
	named := filtersName(q.GetWhere()) || slices.ContainsFunc(q.GetOrderBy(), func(o *firestorepb.StructuredQuery_Order) bool {
		return o.GetField().GetFieldPath() == fsvalue.NameField
	})
	missing := slices.DeleteFunc(slices.Clone(a.Fields), a.Query.ordered)
	if !named || len(missing) == 0 {
		return nil
	}
	return invalidf("This query requires an index that has fields [%s] after __name__ and Firestore does not currently support such an index. "+
		"Please try the query again with additional ordering on those fields.", joinFields(missing))
}

func filtersName(f *firestorepb.StructuredQuery_Filter) bool {
	return f.GetFieldFilter().GetField().GetFieldPath() == fsvalue.NameField || slices.ContainsFunc(f.GetCompositeFilter().GetFilters(), filtersName)
}

func parseAggregate(a *firestorepb.StructuredAggregationQuery_Aggregation) (Aggregate, error) {
	out := Aggregate{Alias: a.GetAlias()}
	if out.Alias != "" {
		if p, err := fsvalue.ParseFieldPath(out.Alias); err != nil || len(p) != 1 {
			return out, invalidf("Invalid aggregation alias %q.", out.Alias)
		}
	}
	var ref *firestorepb.StructuredQuery_FieldReference
	switch op := a.GetOperator().(type) {
	case *firestorepb.StructuredAggregationQuery_Aggregation_Count_:
		if upTo := op.Count.GetUpTo(); upTo != nil {
			if out.UpTo = upTo.GetValue(); out.UpTo <= 0 {
				return out, invalidf("Aggregation up_to must be greater than zero.")
			}
		}
		return out, nil
	case *firestorepb.StructuredAggregationQuery_Aggregation_Sum_:
		out.Kind, ref = Sum, op.Sum.GetField()
	case *firestorepb.StructuredAggregationQuery_Aggregation_Avg_:
		out.Kind, ref = Average, op.Avg.GetField()
	default:
		return out, invalidf("Aggregation has no operator set.")
	}
	var err error
	if out.Field, err = fsvalue.ParseFieldPath(ref.GetFieldPath()); err == nil && out.Field.IsName() {
		err = invalidf("Aggregations on __name__ are not supported.")
	}
	return out, err
}

// Aggregator accumulates the results of one request. It is not safe for concurrent use.
type Aggregator struct {
	agg  *Aggregation
	rows int64
	sums []total // per Aggregation.Fields
}

// NewAggregator returns an empty accumulation.
func NewAggregator(a *Aggregation) *Aggregator {
	return &Aggregator{agg: a, sums: make([]total, len(a.Fields))}
}

// Add takes one row, given the values of Aggregation.Fields in that order; all must be present (the caller
// skips rows that lack one). The values may come from an index entry.
func (g *Aggregator) Add(values []*fsvalue.Value) {
	g.rows++
	for i, v := range values {
		g.sums[i].add(v)
	}
}

// AddRow takes one row unless it lacks an aggregated field.
func (g *Aggregator) AddRow(r Row) {
	var buf [maxAggregations]*fsvalue.Value
	values := buf[:0]
	for _, f := range g.agg.Fields {
		v, ok := f.Get(r.Fields)
		if !ok {
			return
		}
		values = append(values, v)
	}
	g.Add(values)
}

// Done reports whether no further row can change the result, which only counts with a bound allow.
func (g *Aggregator) Done() bool {
	for _, a := range g.agg.Aggregates {
		if a.Kind != Count || a.UpTo == 0 || g.rows < a.UpTo {
			return false
		}
	}
	return true
}

// Result returns the value per alias.
func (g *Aggregator) Result() map[string]*fsvalue.Value {
	out := make(map[string]*fsvalue.Value, len(g.agg.Aggregates))
	for _, a := range g.agg.Aggregates {
		if a.Kind == Count {
			n := g.rows
			if a.UpTo > 0 {
				n = min(n, a.UpTo)
			}
			out[a.Alias] = integerValue(n)
			continue
		}
		i, _ := slices.BinarySearchFunc(g.agg.Fields, a.Field, fsvalue.FieldPath.Compare)
		if a.Kind == Sum {
			out[a.Alias] = g.sums[i].sum()
		} else {
			out[a.Alias] = g.sums[i].average()
		}
	}
	return out
}

// total adds numbers: integers exactly in 128 bits, doubles with Neumaier's compensation, since plain
// addition gives 31.999999999999996 where the official suite expects 32.
type total struct {
	numbers int64
	doubles bool
	hi      int64 // two's complement of the integer sum
	lo      uint64
	raw     float64
	comp    float64
}

func (t *total) add(v *fsvalue.Value) {
	switch fsvalue.ClassOf(v) {
	case fsvalue.ClassNumber, fsvalue.ClassNaN:
	default:
		return
	}
	if isDouble(v) {
		t.numbers++
		t.doubles = true
		t.addDouble(v.GetDoubleValue())
		return
	}
	t.addInteger(v.GetIntegerValue())
}

func (t *total) addInteger(i int64) {
	t.numbers++
	lo, carry := bits.Add64(t.lo, uint64(i), 0)
	t.lo = lo
	t.hi += i>>63 + int64(carry)
}

func (t *total) addDouble(x float64) {
	s := t.raw + x
	if math.Abs(t.raw) >= math.Abs(x) {
		t.comp += (t.raw - s) + x
	} else {
		t.comp += (x - s) + t.raw
	}
	t.raw = s
}

// value returns the sum of integers and doubles as a double.
func (t total) value() float64 {
	if t.hi != 0 || t.lo != 0 {
		ints := new(big.Int).Lsh(big.NewInt(t.hi), 64)
		ints.Add(ints, new(big.Int).SetUint64(t.lo))
		f, _ := new(big.Float).SetInt(ints).Float64()
		t.addDouble(f)
	}
	if math.IsInf(t.raw, 0) || math.IsNaN(t.raw) {
		return t.raw // the compensation is NaN then
	}
	return t.raw + t.comp
}

func (t *total) sum() *fsvalue.Value {
	if !t.doubles && t.hi == int64(t.lo)>>63 {
		return integerValue(int64(t.lo))
	}
	return doubleValue(t.value())
}

func (t *total) average() *fsvalue.Value {
	if t.numbers == 0 {
		return nullValue
	}
	return doubleValue(t.value() / float64(t.numbers))
}

func integerValue(i int64) *fsvalue.Value {
	return &fsvalue.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: i}}
}

func doubleValue(f float64) *fsvalue.Value {
	return &fsvalue.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: f}}
}
