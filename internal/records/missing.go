package records

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"google.golang.org/protobuf/proto"
)

// links are those of Firestore's texts about missing indexes.
var links = regexp.MustCompile(`https://[^\s"]+`)

// indexIn names the index that a text of Firestore's says is missing: its link has it. Else the link, or the
// text.
func indexIn(text string) string {
	raw := links.FindString(text)
	u, err := url.Parse(strings.TrimRight(raw, ".,"))
	if raw == "" || err != nil {
		return text
	}
	encoded := u.Query().Get("create_composite")
	for _, enc := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
		b, err := enc.DecodeString(strings.TrimRight(encoded, "="))
		var x adminpb.Index
		if err != nil || encoded == "" || proto.Unmarshal(b, &x) != nil || len(x.GetFields()) == 0 {
			continue
		}
		_, rest, ok := strings.Cut(x.GetName(), "/collectionGroups/")
		group, _, _ := strings.Cut(rest, "/")
		if !ok || group == "" {
			continue
		}
		var fields []string
		for _, f := range x.GetFields() {
			switch {
			case f.GetFieldPath() == "__name__":
			case f.GetOrder() == adminpb.Index_IndexField_DESCENDING:
				fields = append(fields, f.GetFieldPath()+" desc")
			default:
				fields = append(fields, f.GetFieldPath())
			}
		}
		return "index " + group + "(" + strings.Join(fields, ", ") + ")"
	}
	return raw
}
