// Package indexes finds out whether a Firestore database is set up as exportd's queries and retention need
// it: composite indexes, TTL policies, point-in-time recovery.
//
// It changes nothing. Indexes are proved by plans, not by their listing: an index that is still being built,
// or differs in one direction, does not serve its query.
package indexes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"exportd/internal/connection"

	firestore "cloud.google.com/go/firestore/apiv1"
	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Index is a composite index of the index file.
type Index struct {
	Group  string  `json:"collectionGroup"`
	Scope  string  `json:"queryScope"`
	Fields []Field `json:"fields"`
}

// Field is a field of an index: it has an order or is an array.
type Field struct {
	Path  string `json:"fieldPath"`
	Order string `json:"order,omitempty"`
	Array string `json:"arrayConfig,omitempty"`
}

// String is short, as "VipUsers(workspaceId, mediumId, ltv desc)".
func (x Index) String() string {
	var fields []string
	for _, f := range x.Fields {
		switch {
		case f.Path == "__name__":
		case f.Order == "DESCENDING":
			fields = append(fields, f.Path+" desc")
		default:
			fields = append(fields, f.Path)
		}
	}
	return x.Group + "(" + strings.Join(fields, ", ") + ")"
}

// TTL is a field by whose time documents of a collection group go by themselves.
type TTL struct{ Group, Field string }

// Parse reads a firestore.indexes.json.
func Parse(file []byte) (indexes []Index, ttls []TTL, err error) {
	var f struct {
		Indexes        []Index `json:"indexes"`
		FieldOverrides []struct {
			Group string `json:"collectionGroup"`
			Field string `json:"fieldPath"`
			TTL   bool   `json:"ttl"`
		} `json:"fieldOverrides"`
	}
	if err := json.Unmarshal(file, &f); err != nil {
		return nil, nil, fmt.Errorf("parse index file: %w", err)
	}
	for _, o := range f.FieldOverrides {
		if o.TTL {
			ttls = append(ttls, TTL{o.Group, o.Field})
		}
	}
	return f.Indexes, ttls, nil
}

// Config says which database.
type Config struct {
	ProjectID, DatabaseID string
	// Emulator is the host:port of a Firestore without TLS and authentication; "" is Google's.
	Emulator string
}

// Database is a database to ask. Safe for concurrent use.
type Database struct {
	name  string
	data  *firestore.Client
	admin *admin.FirestoreAdminClient
}

// Open connects; it sends nothing. Close must be called.
func Open(ctx context.Context, c Config) (*Database, error) {
	var opts []option.ClientOption
	if c.Emulator != "" {
		opts = connection.EmulatorOptions(c.Emulator)
	}
	d := &Database{name: "projects/" + c.ProjectID + "/databases/" + c.DatabaseID}
	var err error
	if d.data, err = firestore.NewClient(ctx, opts...); err != nil {
		return nil, fmt.Errorf("open Firestore: %w", err)
	}
	if d.admin, err = admin.NewFirestoreAdminClient(ctx, opts...); err != nil {
		return nil, errors.Join(fmt.Errorf("open Firestore's admin API: %w", err), d.data.Close())
	}
	return d, nil
}

// Close ends the connections.
func (d *Database) Close() error { return errors.Join(d.data.Close(), d.admin.Close()) }

// ErrMissing means that the database lacks what was asked for.
var ErrMissing = errors.New("missing")

// CheckIndex has the query planned that needs x, without running it, and returns the indexes that would serve
// it. It needs what queries need, datastore.entities.list, and costs one read.
func (d *Database) CheckIndex(ctx context.Context, x Index) (used string, err error) {
	stream, err := d.data.RunQuery(ctx, &firestorepb.RunQueryRequest{
		Parent: d.name + "/documents", QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: x.query()},
		ExplainOptions: &firestorepb.ExplainOptions{}, // plan only
	})
	var plans []string
	for err == nil {
		var res *firestorepb.RunQueryResponse
		if res, err = stream.Recv(); err != nil {
			break
		}
		for _, u := range res.GetExplainMetrics().GetPlanSummary().GetIndexesUsed() {
			plans = append(plans, u.GetFields()["properties"].GetStringValue())
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return strings.Join(plans, " and "), nil
	case status.Code(err) == codes.FailedPrecondition:
		return "", fmt.Errorf("no index serves %s: %w", x, ErrMissing)
	}
	return "", fmt.Errorf("plan a query for %s: %w", x, err)
}

// query is the query that needs the index: its last field is the order, the others are fixed.
func (x Index) query() *firestorepb.StructuredQuery {
	q := &firestorepb.StructuredQuery{From: []*firestorepb.StructuredQuery_CollectionSelector{{
		CollectionId: x.Group, AllDescendants: x.Scope == "COLLECTION_GROUP",
	}}}
	last := len(x.Fields) - 1
	for last > 0 && (x.Fields[last].Path == "__name__" || x.Fields[last].Array != "") {
		last--
	}
	var fixed []*firestorepb.StructuredQuery_Filter
	for i, f := range x.Fields {
		ref := &firestorepb.StructuredQuery_FieldReference{FieldPath: f.Path}
		if i == last || f.Path == "__name__" {
			direction := firestorepb.StructuredQuery_ASCENDING
			if f.Order == "DESCENDING" {
				direction = firestorepb.StructuredQuery_DESCENDING
			}
			q.OrderBy = append(q.OrderBy, &firestorepb.StructuredQuery_Order{Field: ref, Direction: direction})
			continue
		}
		op := firestorepb.StructuredQuery_FieldFilter_EQUAL
		if f.Array != "" {
			op = firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS
		}
		fixed = append(fixed, &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
			FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: ref, Op: op, Value: &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: "x"}}},
		}})
	}
	q.Where = &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{
		CompositeFilter: &firestorepb.StructuredQuery_CompositeFilter{Op: firestorepb.StructuredQuery_CompositeFilter_AND, Filters: fixed},
	}}
	return q
}

// ErrNoAdmin means that the server has no admin API, as Google's emulator.
var ErrNoAdmin = errors.New("this Firestore has no admin API")

func adminError(what string, err error) error {
	if status.Code(err) == codes.Unimplemented {
		return ErrNoAdmin
	}
	return fmt.Errorf("%s: %w", what, err)
}

// CheckTTL finds out whether a TTL policy works, or is being set up, and says which. It needs
// datastore.indexes.get.
func (d *Database) CheckTTL(ctx context.Context, t TTL) (state string, err error) {
	f, err := d.admin.GetField(ctx, &adminpb.GetFieldRequest{Name: d.name + "/collectionGroups/" + t.Group + "/fields/" + t.Field})
	if err != nil {
		return "", adminError("get field "+t.Group+"."+t.Field, err)
	}
	switch s := f.GetTtlConfig().GetState(); s {
	case adminpb.Field_TtlConfig_ACTIVE, adminpb.Field_TtlConfig_CREATING:
		return strings.ToLower(s.String()), nil
	case adminpb.Field_TtlConfig_NEEDS_REPAIR:
		return "", fmt.Errorf("the TTL policy of %s.%s needs repair: remove it and deploy it again", t.Group, t.Field)
	}
	return "", fmt.Errorf("%s.%s has no TTL policy: %w", t.Group, t.Field, ErrMissing)
}

// PITR tells whether point-in-time recovery is on. It needs datastore.databases.getMetadata.
func (d *Database) PITR(ctx context.Context) (bool, error) {
	db, err := d.admin.GetDatabase(ctx, &adminpb.GetDatabaseRequest{Name: d.name})
	if err != nil {
		return false, adminError("get database "+d.name, err)
	}
	return db.GetPointInTimeRecoveryEnablement() == adminpb.Database_POINT_IN_TIME_RECOVERY_ENABLED, nil
}
