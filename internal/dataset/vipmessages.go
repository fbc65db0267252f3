package dataset

// VIPMessages are the messages of a workspace on a channel in a window of at most 31 days, the newest first.
var VIPMessages = &Dataset{
	Name: "vip-messages", Row: "Message", Title: "VIP messages", Order: "Newest first; equal timestamps by id.",
	Collection: "VipMessages",
	Sort:       Sort{Field: "timestamp", Type: Time},
	Window:     &Window{Days: 31},
	Filters: []Filter{
		{Param: "label", Field: "labels", Op: ArrayContains, Type: Text, Doc: "Only those with this label: a built-in label's value or a custom label's id."},
		{Param: "contentType", Field: "kind", Op: Equal, Type: Text, Values: []string{"text", "postback", "attachment", "other"},
			Doc: "Only those of this kind."},
	},
	Columns: []Column{
		{Path: "id", Type: Text, Example: "m1"},
		{Path: "timestamp", Type: Time, Example: "2026-06-02T03:04:05.000000Z"},
		{Path: "playerId", Type: Text, Example: "p1"},
		{Path: "displayName", Type: Text, Example: "Ada"},
		{Path: "kind", Type: Text, Doc: "text, postback, attachment or other.", Example: "text"},
		{Path: "source", Type: Text, Doc: "user, agent, bot or system.", Example: "user"},
		{Path: "text", Type: Text, Example: "Hello"},
		{Path: "labels", Type: Array, Example: "greeting"},
	},
	Version: 1,
	List:    List{Rows: "messages", Cursor: "before"},
}
