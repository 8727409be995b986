-- What side_by_side measures: a registrar and record-routing proxy.
local function relay()
	KSR.tm.t_on_reply("on_reply")
	if KSR.tm.t_relay() < 0 then KSR.sl.sl_reply_error() end
	return 1
end

function on_reply() return 1 end

function ksr_request_route()
	KSR.force_rport()
	if KSR.maxfwd.process_maxfwd(10) < 0 then
		KSR.sl.sl_send_reply(483, "Too Many Hops")
		return 1
	end
	if KSR.is_OPTIONS() and KSR.is_myself_ruri() and KSR.corex.has_ruri_user() < 0 then
		KSR.sl.sl_send_reply(200, "Keepalive")
		return 1
	end
	if KSR.sanity.sanity_check(17895, 7) < 0 then return 1 end
	if KSR.siputils.has_totag() > 0 then
		if KSR.rr.loose_route() > 0 then return relay() end
		if not KSR.is_ACK() then KSR.sl.sl_send_reply(404, "Not here") end
		return 1
	end
	if KSR.tm.t_check_trans() == 0 then return 1 end
	if KSR.is_REGISTER() then
		if KSR.registrar.save("location", 0) < 0 then KSR.sl.sl_reply_error() end
		return 1
	end
	KSR.rr.record_route()
	if KSR.registrar.lookup("location") < 0 then
		KSR.sl.sl_send_reply(404, "Not Found")
		return 1
	end
	return relay()
end
