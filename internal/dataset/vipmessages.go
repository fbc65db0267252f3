package dataset

// VIPMessages are the messages of a workspace on a channel in a window of at most 31 days, the
// newest first.
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
		{Path: "id", Type: Text},
		{Path: "timestamp", Type: Time},
		{Path: "playerId", Type: Text},
		{Path: "displayName", Type: Text},
		{Path: "kind", Type: Text, Doc: "text, postback, attachment or other."},
		{Path: "source", Type: Text, Doc: "user, agent, bot or system."},
		{Path: "text", Type: Text},
		{Path: "labels", Type: Array},
	},
	Version: 1,
	List:    List{Rows: "messages", Cursor: "before"},
}
