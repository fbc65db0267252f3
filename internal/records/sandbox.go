package records

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/vip"
)

// What a sandbox has: one workspace with one channel, and SandboxRows rows of each dataset, the same for all.
// They are made here, so that nothing that a sandbox key asks for reaches a real row.
const (
	SandboxWorkspace = "sandbox-workspace"
	SandboxChannel   = "sandbox-channel"
	SandboxRows      = 120
)

func sandboxWorkspaces(orgID string) []vip.Workspace {
	return []vip.Workspace{{ID: SandboxWorkspace, OrgID: orgID, Name: "Sandbox", IsVIP: true, ChannelIDs: []string{SandboxChannel}}}
}

func sandboxChannels(orgID string) []vip.Channel {
	return []vip.Channel{{ID: SandboxChannel, OrgID: orgID, Name: "Sandbox", Platform: "web", WorkspaceIDs: []string{SandboxWorkspace}}}
}

// sandboxNames have what files are read wrongly by: quotes, commas, line ends, scripts, formulas.
var sandboxNames = []string{"Ada Lovelace", `Beth, "Bens" Co.`, "Čeněk Dvořák", "=1+1", "李小龍", "Zoë\nAnn", "🦊 fox", " padded "}

// sandboxFields are the fields of row i of a query, the first in its order being row 0. The names are those
// of the built-in datasets; what another has besides is empty.
func sandboxFields(q *vip.Query, i int) map[string]any {
	name := sandboxNames[i%len(sandboxNames)]
	month := int64(i%12 + 1)
	fields := map[string]any{
		"playerId": fmt.Sprintf("player-%03d", i), "displayName": name, "labels": []string{"greeting", fmt.Sprint("label-", i%3)},
		"kind": []string{"text", "postback", "attachment", "other"}[i%4], "source": []string{"user", "agent", "bot", "system"}[i%4], "text": "Hello from " + name,
		"language": "en", "country": "GB", "currency": "GBP", "tier": []string{"gold", "silver"}[i%2], "tags": []string{"early"},
		"firstSeenAt": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "lastSeenAt": time.Date(2026, 6, 2, 3, 4, i%60, 0, time.UTC),
		"hasBirthday": i%2 == 0, "personalInfo": map[string]any{"fullName": name, "email": fmt.Sprintf("player%03d@example.com", i), "city": "London"},
	}
	fields["birthdayMonth"] = nil
	if i%2 == 0 {
		fields["birthdayMonth"] = month
		fields["personalInfo"].(map[string]any)["birthday"] = fmt.Sprintf("1990-%02d-10", month)
	}
	place := i
	if q.Ascending {
		place = SandboxRows - 1 - i
	}
	if q.From.IsZero() {
		fields[q.SortField] = float64(SandboxRows-place) * 100.5
	} else { // within the window, whatever it is
		fields[q.SortField] = q.From.Add(q.To.Sub(q.From) / (SandboxRows + 1) * time.Duration(SandboxRows-place)).Truncate(time.Microsecond)
	}
	return fields
}

// sandboxMeets reports whether a row meets a condition. Workspace, channel and whatever else the rows do not
// have restricts nothing.
func sandboxMeets(fields map[string]any, c vip.Condition) bool {
	v, has := fields[c.Field]
	if list, ok := v.([]string); ok {
		text, ok := c.Value.(string)
		return ok && slices.Contains(list, text)
	}
	return !has || v == c.Value
}

// sandboxValue is a value as it is stored.
func sandboxValue(v any) (*firestorepb.Value, error) {
	switch v := v.(type) {
	case nil:
		return &firestorepb.Value{ValueType: &firestorepb.Value_NullValue{}}, nil
	case float64:
		return &firestorepb.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: v}}, nil
	case time.Time:
		return pbTime(v), nil
	case []string:
		list := &firestorepb.ArrayValue{}
		for _, text := range v {
			list.Values = append(list.Values, &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: text}})
		}
		return &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: list}}, nil
	case map[string]any:
		m := &firestorepb.MapValue{Fields: map[string]*firestorepb.Value{}}
		for name, field := range v {
			var err error
			if m.Fields[name], err = sandboxValue(field); err != nil {
				return nil, err
			}
		}
		return &firestorepb.Value{ValueType: &firestorepb.Value_MapValue{MapValue: m}}, nil
	}
	return pbValue(v)
}

// sandboxRows are the fields of the rows that a query of a sandbox finds, by their number.
func sandboxRows(q *vip.Query) iter.Seq2[int, map[string]any] {
	return func(yield func(int, map[string]any) bool) {
		for i := range SandboxRows {
			fields := sandboxFields(q, i)
			other := func(c vip.Condition) bool { return !sandboxMeets(fields, c) }
			if !slices.ContainsFunc(q.Conditions, other) && !yield(i, fields) {
				return
			}
		}
	}
}

// sandbox calls row with the documents of a query of a sandbox within a range, in its order.
func (r *Reader) sandbox(ctx context.Context, q vip.Query, rng vip.Range, row func(doc []byte, at vip.Position) error) error {
	for i, fields := range sandboxRows(&q) {
		stored, err := sandboxValue(fields)
		if err != nil {
			return err
		}
		doc, err := proto.MarshalOptions{Deterministic: true}.Marshal(&firestorepb.Document{
			Name: r.documentName(q.Collection, fmt.Sprintf("sandbox-%03d", i)), Fields: stored.GetMapValue().GetFields(),
		})
		if err != nil {
			return err
		}
		at, err := q.PositionOf(doc)
		if err != nil {
			return err
		}
		before := func(p *vip.Position) bool { return q.Follows(at.Key, []byte(at.ID), p.Key, []byte(p.ID)) }
		if rng.From != nil && before(rng.From) || rng.To != nil && !before(rng.To) {
			continue
		}
		if err := row(doc, at); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sandboxPage is Page of a sandbox. Its rows are too small for a bound of bytes.
func (r *Reader) sandboxPage(ctx context.Context, q vip.Query, after *vip.Position, offset, limit int, row RowEncoder) (page Page, err error) {
	var last *vip.Position
	err = r.sandbox(ctx, q, vip.Range{}, func(doc []byte, at vip.Position) error {
		switch {
		case after != nil && !q.Follows(after.Key, []byte(after.ID), at.Key, []byte(at.ID)):
			return nil
		case offset > 0:
			offset--
			return nil
		case len(page.Rows) == limit:
			page.Next = last
			return errPageFull
		}
		b, err := row.AppendRow(nil, doc)
		page.Rows, last = append(page.Rows, b), &at
		return err
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return page, err
}

// sandboxFirst is First of a sandbox.
func (r *Reader) sandboxFirst(ctx context.Context, q vip.Query, rng vip.Range) (first *vip.Position, err error) {
	err = r.sandbox(ctx, q, rng, func(_ []byte, at vip.Position) error { first = &at; return errPageFull })
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return first, err
}

// sandboxCount is Count of a sandbox, whose rows never change.
func (r *Reader) sandboxCount(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (rows int64, as time.Time, err error) {
	if at.IsZero() {
		at = time.Now().UTC().Truncate(time.Microsecond)
	}
	err = r.sandbox(ctx, q, rng, func([]byte, vip.Position) error { rows++; return nil })
	return rows, at, err
}

// sandboxLabels is LabelCounts of a sandbox.
func (r *Reader) sandboxLabels(ctx context.Context, q vip.Query) (counts []LabelCount, total int64, err error) {
	sum := &labelSum{byLabel: map[string]int64{}}
	for _, fields := range sandboxRows(&q) {
		total++
		for _, label := range fields["labels"].([]string) {
			sum.byLabel[label]++
		}
	}
	return sum.counts(), total, ctx.Err()
}
