package fsindex

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// MissingError tells that no set of indexes serves a disjunct.
type MissingError struct {
	// Index would serve it.
	Index Index
	// Exemption tells that Index is a single-field index, to be added with a field override instead of a
	// composite.
	Exemption bool

	database         fsvalue.Database
	manyInequalities bool
	rules            []single // an Exemption's field has them already
}

const console = "https://console.firebase.google.com/v1/r/project/"

// Error returns production's text with the console link.
func (e *MissingError) Error() string {
	link := console + e.database.Project + "/firestore/indexes?"
	if e.Exemption {
		field := e.Index.Fields[0]
		return fmt.Sprintf("The query requires a %s_%s index for collection %s and field %s. You can create it here: %screate_exemption=%s",
			e.Index.Scope, field.Kind, e.Index.Group, field.Path, link, e.encode())
	}
	if n := len(e.Index.Fields); n > 0 && e.Index.Fields[n-1].Kind == Vector {
		return "Missing vector index configuration. Please create the required index with the following gcloud command: " + e.command()
	}
	text := "The query requires an index. You can create it here: " + link + "create_composite=" + e.encode()
	if e.manyInequalities {
		text += " .\nThe query contains range and inequality filters on multiple fields, please refer to the documentation for " +
			"index selection best practices: https://cloud.google.com/firestore/docs/query-data/multiple-range-fields."
	}
	return text
}

// GRPCStatus lets the error travel as FAILED_PRECONDITION.
func (e *MissingError) GRPCStatus() *status.Status {
	return status.New(codes.FailedPrecondition, e.Error())
}

// Definition returns the entry that firestore.indexes.json lacks: one of "indexes", or of "fieldOverrides"
// for an exemption, with the indexes that its field has already: an override replaces them.
func (e *MissingError) Definition() string {
	var entry any = e.Index
	if e.Exemption {
		o := fileOverride{CollectionGroup: e.Index.Group, FieldPath: e.Index.Fields[0].Path.String()}
		for _, r := range append(slices.Clone(e.rules), single{e.Index.Scope, e.Index.Fields[0].Kind}) {
			f := Field{Kind: r.kind}.file()
			f.FieldPath, f.QueryScope = "", r.scope.String()
			o.Indexes = append(o.Indexes, f)
		}
		entry = o
	}
	b, err := json.Marshal(entry)
	if err != nil {
		return err.Error() // strings and ints do not fail to marshal
	}
	return string(b)
}

// command is the one that production's message about vectors has instead of a link.
func (e *MissingError) command() string {
	text := "gcloud firestore indexes composite create --project=" + e.database.Project + " --collection-group=" + e.Index.Group + " --query-scope=" + e.Index.Scope.String()
	for _, f := range e.Index.Fields {
		switch f.Kind {
		case Vector:
			text += fmt.Sprintf(` --field-config=vector-config='{"dimension":"%d","flat": "{}"}',field-path=%s`, f.Dimension, f.Path)
		case Contains:
			text += " --field-config=array-config=CONTAINS,field-path=" + f.Path.String()
		default:
			text += " --field-config=order=" + f.file().Order + ",field-path=" + f.Path.String()
		}
	}
	return text
}

// Field numbers of google.firestore.admin.v1.Index and Index.IndexField.
const (
	indexName         = 1
	indexScope        = 2
	indexFields       = 3
	fieldPathNumber   = 1
	fieldOrderNumber  = 2
	fieldArrayNumber  = 3
	orderAscending    = 1
	orderDescending   = 2
	arrayContainsEnum = 1
)

// encode returns the index as the console's links carry it: the admin API's message, written by hand because
// that API is not a dependency.
func (e *MissingError) encode() string {
	resource := e.database.String() + "/collectionGroups/" + e.Index.Group
	if e.Exemption {
		resource += "/fields/" + e.Index.Fields[0].Path.String()
	} else {
		resource += "/indexes/_"
	}
	b := protowire.AppendTag(nil, indexName, protowire.BytesType)
	b = protowire.AppendString(b, resource)
	b = protowire.AppendTag(b, indexScope, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.Index.Scope))
	for _, f := range e.Index.Fields {
		b = appendField(b, f)
	}
	if !e.Exemption {
		b = appendField(b, Field{Path: fsvalue.FieldPath{fsvalue.NameField}, Kind: kindOf(e.Index.Name)})
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func appendField(b []byte, f Field) []byte {
	in := protowire.AppendTag(nil, fieldPathNumber, protowire.BytesType)
	in = protowire.AppendString(in, f.Path.String())
	number, value := protowire.Number(fieldOrderNumber), uint64(orderAscending)
	switch f.Kind {
	case Descending:
		value = orderDescending
	case Contains:
		number, value = fieldArrayNumber, arrayContainsEnum
	}
	in = protowire.AppendTag(in, number, protowire.VarintType)
	in = protowire.AppendVarint(in, value)
	b = protowire.AppendTag(b, indexFields, protowire.BytesType)
	return protowire.AppendBytes(b, in)
}
