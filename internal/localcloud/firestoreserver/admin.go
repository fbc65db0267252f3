package firestoreserver

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// admin is the part of the admin API that tells what a database is like: the database itself and the TTL
// policies of the index file, by which Server.Expire deletes. It changes nothing; the rest is UNIMPLEMENTED.
type admin struct {
	adminpb.UnimplementedFirestoreAdminServer
	retention time.Duration
	ttl       map[string]bool // by collection group and field, "G/fields/F"
}

var (
	adminDatabase = regexp.MustCompile(`^projects/[^/]+/databases/[^/]+$`)
	adminGroup    = regexp.MustCompile(`^(projects/[^/]+/databases/[^/]+)/collectionGroups/([^/]+)$`)
	adminField    = regexp.MustCompile(`^projects/[^/]+/databases/[^/]+/collectionGroups/([^/]+/fields/.+)$`)
)

const (
	plainRetention = time.Hour
	// pitrRetention is what point-in-time recovery keeps.
	pitrRetention = 7 * 24 * time.Hour
	ttlFilter     = "ttlConfig:*"
)

func newAdmin(indexesJSON []byte, retention time.Duration) (*admin, error) {
	var file struct {
		FieldOverrides []struct {
			CollectionGroup, FieldPath string
			TTL                        bool
		}
	}
	if err := json.Unmarshal(indexesJSON, &file); err != nil {
		return nil, fmt.Errorf("read TTL policies: %w", err)
	}
	a := &admin{retention: retention, ttl: map[string]bool{}}
	if a.retention == 0 {
		a.retention = plainRetention
	}
	for _, o := range file.FieldOverrides {
		if o.TTL {
			a.ttl[o.CollectionGroup+"/fields/"+o.FieldPath] = true
		}
	}
	return a, nil
}

// policies gives the field of each collection group by which its documents go.
func (a *admin) policies() (map[string]fsvalue.FieldPath, error) {
	out := map[string]fsvalue.FieldPath{}
	for path := range a.ttl {
		group, name, _ := strings.Cut(path, "/fields/")
		field, err := fsvalue.ParseFieldPath(name)
		if err != nil {
			return nil, fmt.Errorf("read TTL policy of %s: %w", group, err)
		}
		out[group] = field
	}
	return out, nil
}

// GetDatabase says what Options say: point-in-time recovery is on where old versions are kept for as long.
func (a *admin) GetDatabase(_ context.Context, req *adminpb.GetDatabaseRequest) (*adminpb.Database, error) {
	if !adminDatabase.MatchString(req.GetName()) {
		return nil, invalid("Invalid database name %q.", req.GetName())
	}
	pitr := adminpb.Database_POINT_IN_TIME_RECOVERY_DISABLED
	if a.retention >= pitrRetention {
		pitr = adminpb.Database_POINT_IN_TIME_RECOVERY_ENABLED
	}
	return &adminpb.Database{
		Name: req.GetName(), LocationId: "nam5", Type: adminpb.Database_FIRESTORE_NATIVE,
		ConcurrencyMode:               adminpb.Database_OPTIMISTIC,
		VersionRetentionPeriod:        durationpb.New(a.retention),
		PointInTimeRecoveryEnablement: pitr,
	}, nil
}

// GetField shows a field's TTL policy. Its index configuration is not shown.
func (a *admin) GetField(_ context.Context, req *adminpb.GetFieldRequest) (*adminpb.Field, error) {
	m := adminField.FindStringSubmatch(req.GetName())
	if m == nil {
		return nil, invalid("Invalid field name %q.", req.GetName())
	}
	return a.field(req.GetName(), m[1]), nil
}

func (a *admin) field(name, path string) *adminpb.Field {
	f := &adminpb.Field{Name: name}
	if a.ttl[path] {
		f.TtlConfig = &adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE}
	}
	return f
}

// ListFields gives the fields of a group that have a TTL policy; other filters are not supported.
func (a *admin) ListFields(_ context.Context, req *adminpb.ListFieldsRequest) (*adminpb.ListFieldsResponse, error) {
	m := adminGroup.FindStringSubmatch(req.GetParent())
	if m == nil {
		return nil, invalid("Invalid collection group %q.", req.GetParent())
	}
	if req.GetFilter() != ttlFilter {
		return nil, invalid("This server supports the filter %s only.", ttlFilter)
	}
	res := &adminpb.ListFieldsResponse{}
	for path := range a.ttl {
		if group, _, _ := strings.Cut(path, "/"); m[2] == "-" || m[2] == group {
			res.Fields = append(res.Fields, a.field(m[1]+"/collectionGroups/"+path, path))
		}
	}
	return res, nil
}
