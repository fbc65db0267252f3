package storageserver

import (
	"net/http"
	"regexp"
)

// permissionName is the form of those that may be asked for of a bucket; which there are is Google's to say:
// https://cloud.google.com/storage/docs/access-control/iam-permissions
var permissionName = regexp.MustCompile(`^storage\.(buckets|objects|folders|managedFolders|multipartUploads)\.[a-zA-Z]+$`)

// testPermissions answers which permissions the caller has: all that are asked for, unless Options.Permitted
// says otherwise. There are no policies to read or to set.
func (s *Server) testPermissions(w http.ResponseWriter, r *http.Request, bucket string) error {
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	asked := r.URL.Query()["permissions"]
	if len(asked) == 0 {
		return &apiError{http.StatusBadRequest, "required", "Required parameter: permissions"}
	}
	answer := map[string]any{"kind": "storage#testIamPermissionsResponse"}
	var has []string
	for _, p := range asked {
		if !permissionName.MatchString(p) {
			return badRequest("Invalid permission: %q", p)
		}
		if s.permitted == nil || s.permitted(r, p) {
			has = append(has, p)
		}
	}
	if has != nil {
		answer["permissions"] = has
	}
	return s.reply(w, r, answer)
}
