package dataset

// VIPUsers are the VIP users of a workspace on a channel, the most valuable first.
var VIPUsers = &Dataset{
	Name: "vip-users", Row: "User", Title: "VIP users", Order: "Highest LTV first; equal LTVs by id.",
	Collection: "VipUsers",
	Sort:       Sort{Field: "ltv", Type: Number},
	Filters: []Filter{
		{Param: "hasBirthday", Field: "hasBirthday", Op: Equal, Type: Flag, Doc: "Only those whose birthday is known."},
		{Param: "birthdayMonth", Field: "birthdayMonth", Op: Equal, Type: Number, Min: 1, Max: 12, Implies: "hasBirthday",
			Doc: "Only those with a birthday in this month; implies `hasBirthday`."},
	},
	Columns: []Column{
		{Path: "id", Type: Text},
		{Path: "playerId", Type: Text},
		{Path: "displayName", Type: Text},
		{Path: "avatarUrl", Type: Text},
		{Path: "language", Type: Text},
		{Path: "country", Type: Text},
		{Path: "ltv", Type: Number},
		{Path: "currency", Type: Text},
		{Path: "tier", Type: Text},
		{Path: "tags", Type: Array},
		{Path: "firstSeenAt", Type: Time},
		{Path: "lastSeenAt", Type: Time},
		{Path: "personalInfo.fullName", Type: Text},
		{Path: "personalInfo.gender", Type: Text},
		{Path: "personalInfo.birthday", Type: Date},
		{Path: "personalInfo.email", Type: Text},
		{Path: "personalInfo.phone", Type: Text},
		{Path: "personalInfo.city", Type: Text},
	},
	Version: 1,
	List:    List{Rows: "users"},
}
