package storageserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// use is what becomes of a field, or a parameter, that a caller sends: it is honoured or refused, and never
// left out in silence. TestEveryField holds these tables against the API's own description.
type use int

const (
	refused  use = iota // unless it says what holds anyway: false, zero, empty
	honoured            // its members have lines of their own, but where a caller chooses their names
	number              // honoured; a string of digits in the API's JSON, for which a number is taken too
	answer              // only the service sets it: as in production, nobody looks at what a caller sends
)

// bucketFields, by the path in the JSON; a list's elements have the list's path.
var bucketFields = map[string]use{
	"name": honoured, "location": honoured, "storageClass": honoured, "labels": honoured,
	"lifecycle": honoured, "lifecycle.rule": honoured, "lifecycle.rule.action": honoured, "lifecycle.rule.condition": honoured,
	"lifecycle.rule.action.type": honoured, "lifecycle.rule.action.storageClass": refused, // checkLifecycle has which types
	"lifecycle.rule.condition.age": honoured, "lifecycle.rule.condition.createdBefore": honoured, "lifecycle.rule.condition.customTimeBefore": honoured,
	"lifecycle.rule.condition.daysSinceCustomTime": honoured, "lifecycle.rule.condition.daysSinceNoncurrentTime": honoured, "lifecycle.rule.condition.isLive": honoured,
	"lifecycle.rule.condition.matchesPattern": refused, "lifecycle.rule.condition.matchesPrefix": honoured, "lifecycle.rule.condition.matchesStorageClass": honoured,
	"lifecycle.rule.condition.matchesSuffix": honoured, "lifecycle.rule.condition.noncurrentTimeBefore": honoured, "lifecycle.rule.condition.numNewerVersions": honoured,
	"lifecycle.rule.condition.sizeAboveBytes": number, "lifecycle.rule.condition.sizeBelowBytes": number,
	// Uniform access is what there is, and nothing is public.
	"iamConfiguration": honoured, "iamConfiguration.bucketPolicyOnly": honoured, "iamConfiguration.uniformBucketLevelAccess": honoured, "iamConfiguration.publicAccessPrevention": honoured,
	"iamConfiguration.bucketPolicyOnly.enabled": honoured, "iamConfiguration.bucketPolicyOnly.lockedTime": answer, "iamConfiguration.uniformBucketLevelAccess.enabled": honoured, "iamConfiguration.uniformBucketLevelAccess.lockedTime": answer,
	"cors": honoured, "cors.origin": honoured, "cors.method": honoured, "cors.responseHeader": honoured, "cors.maxAgeSeconds": honoured,
	"versioning": honoured, "versioning.enabled": honoured,
	// Kept and shown. To restore something, or to list what is deleted, is refused.
	"softDeletePolicy": honoured, "softDeletePolicy.retentionDurationSeconds": number, "softDeletePolicy.effectiveTime": answer, "softDeletePolicy.hardDeletePause": refused,

	"etag": answer, "generation": answer, "hardDeleteTime": answer, "id": answer, "kind": answer, "locationType": answer, "metageneration": answer, "owner": answer, "projectNumber": answer,
	"satisfiesPZI": answer, "satisfiesPZS": answer, "selfLink": answer, "softDeleteTime": answer, "timeCreated": answer, "updated": answer,

	"acl": refused, "autoclass": refused, "billing": refused, "customPlacementConfig": refused, "defaultEventBasedHold": refused, "defaultObjectAcl": refused,
	"encryption": refused, "hierarchicalNamespace": refused, "ipFilter": refused, "logging": refused, "objectRetention": refused, "retentionPolicy": refused, "rpo": refused,
	"website": refused,
}

var objectFields = map[string]use{
	"name": honoured, "cacheControl": honoured, "contentDisposition": honoured, "contentEncoding": honoured, "contentLanguage": honoured, "contentType": honoured, "crc32c": honoured,
	"customTime": honoured, "eventBasedHold": honoured, "md5Hash": honoured, "metadata": honoured, "storageClass": honoured, "temporaryHold": honoured,

	"bucket": answer, "componentCount": answer, "customerEncryption": answer, "etag": answer, "generation": answer, "hardDeleteTime": answer, "id": answer, "kind": answer, "mediaLink": answer,
	"metageneration": answer, "owner": answer, "restoreToken": answer, "retentionExpirationTime": answer, "selfLink": answer, "size": answer, "softDeleteTime": answer, "timeCreated": answer,
	"timeDeleted": answer, "timeFinalized": answer, "timeStorageClassUpdated": answer, "updated": answer,

	"acl": refused, "contexts": refused, "kmsKeyName": refused, "retention": refused,
}

var composeFields = func() map[string]use {
	out := map[string]use{
		"kind": answer, "deleteSourceObjects": refused, "destination": honoured, "sourceObjects": honoured, "sourceObjects.name": honoured, "sourceObjects.generation": number,
		"sourceObjects.objectPreconditions": honoured, "sourceObjects.objectPreconditions.ifGenerationMatch": number,
	}
	for name, u := range objectFields {
		out["destination."+name] = u
	}
	out["destination.md5Hash"] = refused // what is composed has none
	return out
}()

// parameters of all methods: one name means the same wherever it may stand.
var parameters = map[string]use{
	"alt": honoured, "fields": honoured, "uploadType": honoured, "upload_id": honoured, "name": honoured, "contentEncoding": honoured,
	"generation": honoured, "ifGenerationMatch": honoured, "ifGenerationNotMatch": honoured, "ifMetagenerationMatch": honoured, "ifMetagenerationNotMatch": honoured,
	"sourceGeneration": honoured, "ifSourceGenerationMatch": honoured, "ifSourceGenerationNotMatch": honoured, "ifSourceMetagenerationMatch": honoured, "ifSourceMetagenerationNotMatch": honoured,
	"prefix": honoured, "delimiter": honoured, "startOffset": honoured, "endOffset": honoured, "matchGlob": honoured, "includeTrailingDelimiter": honoured, "maxResults": honoured, "pageToken": honoured,
	"versions": honoured, "permissions": honoured,
	// What they ask for holds anyway: there are no ACLs to leave out, one project that owns and pays all,
	// lists are whole, a rewrite is done in one call, and spaces mean nothing in JSON.
	"projection": honoured, "project": honoured, "userProject": honoured, "returnPartialSuccess": honoured, "maxBytesRewrittenPerCall": honoured,
	"prettyPrint": honoured, "key": honoured, "oauth_token": honoured, "quotaUser": honoured, "userIp": honoured,

	"copySourceAcl": refused, "destinationKmsKeyName": refused, "destinationPredefinedAcl": refused, "dropContextGroups": refused, "enableObjectRetention": refused, "filter": refused,
	"includeFoldersAsPrefixes": refused, "kmsKeyName": refused, "overrideUnlockedRetention": refused, "predefinedAcl": refused, "predefinedDefaultObjectAcl": refused, "restoreToken": refused,
	"rewriteToken": refused, "softDeleted": refused,
}

func refuseParameters(q url.Values) error {
	for name, values := range q {
		if u, ok := parameters[name]; ok && u == refused && slices.ContainsFunc(values, func(v string) bool { return v != "" && v != "false" }) {
			return notImplemented("The parameter %s", name)
		}
	}
	return nil
}

// decodeFields reads a JSON body into v and leaves only what is honoured of it.
func decodeFields(r io.Reader, fields map[string]use, v any) error {
	raw, err := readFields(r, fields)
	if err != nil {
		return err
	}
	return setFields(raw, v)
}

func readFields(r io.Reader, fields map[string]use) (map[string]any, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var raw map[string]any
	if err := d.Decode(&raw); err != nil {
		if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, badRequest("The request has more than %d bytes.", big.Limit)
		}
		return nil, badRequest("Parse error: the body is not a JSON object.")
	}
	return raw, filterFields("", raw, fields)
}

// setFields sets in v what raw has, as encoding/json does.
func setFields(raw map[string]any, v any) error {
	data, err := json.Marshal(raw)
	if err != nil {
		return badRequest("Parse error: the body is not a JSON object.")
	}
	err = unmarshal(data, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return badRequest("Invalid value for: %s is not a valid value of %s.", wrong.Value, wrong.Field)
	}
	if err != nil {
		return badRequest("Invalid value in the body: a number, or a time, is not written as one.")
	}
	return nil
}

func filterFields(path string, raw map[string]any, fields map[string]use) error {
	for name := range raw {
		full := strings.TrimPrefix(path+"."+name, ".")
		u, known := fields[full]
		if !known {
			u = refused
		}
		switch {
		case u == answer, u == refused && off(raw[name]):
			delete(raw, name)
			continue
		case u == refused:
			return notImplemented("The field %s", full)
		case u == number:
			n, ok := raw[name].(json.Number)
			if ok {
				raw[name] = n.String()
			}
			if text, ok := raw[name].(string); raw[name] != nil && (!ok || !isInt(text)) {
				return badRequest("Invalid value for: %s is not a whole number.", full)
			}
			continue
		}
		if err := filterValue(full, raw[name], fields); err != nil {
			return err
		}
	}
	return nil
}

func filterValue(path string, v any, fields map[string]use) error {
	switch v := v.(type) {
	case map[string]any:
		if !hasMembers(path, fields) {
			return nil
		}
		return filterFields(path, v, fields)
	case []any:
		for _, e := range v {
			if err := filterValue(path, e, fields); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasMembers says whether an object's members have lines of their own.
func hasMembers(path string, fields map[string]use) bool {
	for name := range fields {
		if strings.HasPrefix(name, path+".") {
			return true
		}
	}
	return false
}

// takeNulls removes from have, and from what was sent, the members that are sent as null.
func takeNulls(sent any, have map[string]string) {
	members, _ := sent.(map[string]any)
	for key, value := range members {
		if value == nil {
			delete(have, key)
			delete(members, key)
		}
	}
}

func isInt(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// off says that a field which is not served has the value that it has anyway.
func off(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == "" || v == "DEFAULT" // of rpo
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !off(e) {
				return false
			}
		}
	}
	_, object := v.(map[string]any)
	return object
}
