package records

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/vip"
	"exportd/jobs"
)

const nameField = "__name__"

// structured translates a query and a range of it.
func (r *Reader) structured(q vip.Query, rng vip.Range) (*firestorepb.StructuredQuery, error) {
	if q.Sandbox {
		return nil, errors.New("a query of a sandbox is not for the database")
	}
	filters := make([]*firestorepb.StructuredQuery_Filter, 0, len(q.Conditions)+2)
	for _, c := range q.Conditions {
		v, err := pbValue(c.Value)
		if err != nil {
			return nil, fmt.Errorf("condition on %s: %w", c.Field, err)
		}
		op := firestorepb.StructuredQuery_FieldFilter_EQUAL
		if c.Op == vip.ArrayContains {
			op = firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS
		}
		filters = append(filters, fieldFilter(c.Field, op, v))
	}
	if !q.From.IsZero() {
		filters = append(filters, fieldFilter(q.SortField, firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL, pbTime(q.From)))
	}
	if !q.To.IsZero() {
		filters = append(filters, fieldFilter(q.SortField, firestorepb.StructuredQuery_FieldFilter_LESS_THAN, pbTime(q.To)))
	}
	sq := &firestorepb.StructuredQuery{
		From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: q.Collection}},
		Where: &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{
			CompositeFilter: &firestorepb.StructuredQuery_CompositeFilter{
				Op: firestorepb.StructuredQuery_CompositeFilter_AND, Filters: filters}}},
	}
	if len(filters) == 0 {
		sq.Where = nil
	}
	if q.SortField != "" {
		direction := firestorepb.StructuredQuery_DESCENDING
		if q.Ascending {
			direction = firestorepb.StructuredQuery_ASCENDING
		}
		sq.OrderBy = []*firestorepb.StructuredQuery_Order{
			{Field: fieldRef(q.SortField), Direction: direction},
			{Field: fieldRef(nameField), Direction: firestorepb.StructuredQuery_ASCENDING},
		}
	}
	var err error
	if sq.StartAt, err = r.cursor(q, rng.From, true); err != nil {
		return nil, err
	}
	sq.EndAt, err = r.cursor(q, rng.To, true)
	return sq, err
}

// cursor is the place p of the query: before the row that is there, or after it.
func (r *Reader) cursor(q vip.Query, p *vip.Position, before bool) (*firestorepb.Cursor, error) {
	if p == nil {
		return nil, nil
	}
	key := new(firestorepb.Value)
	if err := proto.Unmarshal(p.Key, key); err != nil {
		return nil, fmt.Errorf("sort key of position: %w", err)
	}
	c := &firestorepb.Cursor{Values: []*firestorepb.Value{key}, Before: true}
	if p.ID != "" {
		c.Before = before
		c.Values = append(c.Values, &firestorepb.Value{ValueType: &firestorepb.Value_ReferenceValue{
			ReferenceValue: r.documentName(q.Collection, p.ID)}})
	}
	return c, nil
}

func (r *Reader) documentName(collection, id string) string {
	return r.root + "/" + collection + "/" + id
}

// runRequest is the request for a query as of at; a zero at is now.
func (r *Reader) runRequest(sq *firestorepb.StructuredQuery, at time.Time) *firestorepb.RunQueryRequest {
	req := &firestorepb.RunQueryRequest{
		Parent:    r.root,
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: sq},
	}
	if !at.IsZero() {
		req.ConsistencySelector = &firestorepb.RunQueryRequest_ReadTime{ReadTime: timestamppb.New(at)}
	}
	return req
}

func project(sq *firestorepb.StructuredQuery, fields ...string) {
	sq.Select = new(firestorepb.StructuredQuery_Projection)
	for _, f := range fields {
		sq.Select.Fields = append(sq.Select.Fields, fieldRef(f))
	}
}

func limitTo(sq *firestorepb.StructuredQuery, n int) { sq.Limit = wrapperspb.Int32(int32(n)) }

func fieldRef(path string) *firestorepb.StructuredQuery_FieldReference {
	return &firestorepb.StructuredQuery_FieldReference{FieldPath: path}
}

func fieldFilter(path string, op firestorepb.StructuredQuery_FieldFilter_Operator, v *firestorepb.Value) *firestorepb.StructuredQuery_Filter {
	return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
		FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: fieldRef(path), Op: op, Value: v}}}
}

func pbTime(t time.Time) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamppb.New(t)}}
}

func pbValue(v any) (*firestorepb.Value, error) {
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) { // the transport would refuse it, as if it were broken
			return nil, jobs.Fail(jobs.CodeInvalidJob, jobs.Permanent, "a filter is not valid UTF-8", "", nil)
		}
		return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: v}}, nil
	case bool:
		return &firestorepb.Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: v}}, nil
	case int64:
		return &firestorepb.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: v}}, nil
	}
	return nil, fmt.Errorf("no value of a condition: %T", v)
}
