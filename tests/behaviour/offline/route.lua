-- What cases may find wrong.
function ksr_request_route()
	local user = KSR.pv.gete("$rU")
	if user == "drop" then return end
	if user == "loop" then while true do end end
	if user == "error" then return nil + 1 end
	if user == "crash" then require("ffi").cast("int *", 8)[0] = 1 end
	KSR.pv.sets("$avp(who)", user)
	KSR.htable.sht_sets("ipban", user, "seen")
	KSR.info("asked for " .. user .. "\n")
	if user == "relay" then
		KSR.hdr.append("X-Way: a;b\r\n")
		KSR.hdr.remove("Subject")
		KSR.tm.t_relay()
		return
	end
	KSR.sl.send_reply(200, "OK")
end
