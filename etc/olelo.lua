-- Routing of the shipped configuration. Reload it without a gap: olctl app_lua.reload
--
-- Flags of transactions and branches
local FLT_ACC = 1          -- account for the transaction
local FLT_ACCFAILED = 3    -- account for it even if it fails
local FLT_NATS = 5         -- the sender is behind NAT
local FLB_NATB = 6         -- the branch's receiver is behind NAT
local FLB_NATSIPPING = 7   -- keep its NAT binding open

local WITH_AUTH = KSR.kx.ifdef("WITH_AUTH")
local WITH_NAT = KSR.kx.ifdef("WITH_NAT")
local WITH_ANTIFLOOD = KSR.kx.ifdef("WITH_ANTIFLOOD")

-- Users and passwords, where WITH_AUTH is set. Anyone with another store replaces this function.
local PASSWORDS = { alice = "wonderland", bob = "builder" }
local function password_of(user)
	return PASSWORDS[user]
end

-- what every request goes through first
local function request_init()
	if WITH_ANTIFLOOD and not KSR.is_myself_srcip() then
		local source = KSR.kx.get_srcip()
		if KSR.htable.sht_match_name("ipban", "eq", source) > 0 then
			KSR.dbg("request from banned address " .. source .. "\n")
			KSR.x.exit()
		end
		if KSR.pike.pike_check_req() < 0 then
			KSR.err("too many requests from " .. source .. ", banned\n")
			KSR.htable.sht_seti("ipban", source, 1)
			KSR.x.exit()
		end
	end
	local agent = KSR.kx.gete_ua()
	if string.find(agent, "friendly-scanner", 1, true) or string.find(agent, "sipvicious", 1, true) then
		KSR.x.exit()
	end
	if KSR.maxfwd.process_maxfwd(10) < 0 then
		KSR.sl.sl_send_reply(483, "Too Many Hops")
		KSR.x.exit()
	end
	if KSR.is_OPTIONS() and KSR.is_myself_ruri() and KSR.corex.has_ruri_user() < 0 then
		KSR.sl.sl_send_reply(200, "Keepalive")
		KSR.x.exit()
	end
	if KSR.sanity.sanity_check(17895, 7) < 0 then
		KSR.x.exit()
	end
end

local function detect_nat()
	if not WITH_NAT then return end
	KSR.force_rport()
	if KSR.nathelper.nat_uac_test(19) > 0 then
		if KSR.is_REGISTER() then
			KSR.nathelper.fix_nated_register()
		elseif KSR.siputils.is_first_hop() > 0 then
			KSR.nathelper.set_contact_alias()
		end
		KSR.setflag(FLT_NATS)
	end
end

local function relay()
	if KSR.is_method_in("IBSU") and KSR.tm.t_is_set("branch_route") < 0 then
		KSR.tm.t_on_branch("ksr_branch_manage")
	end
	if KSR.is_method_in("ISU") and KSR.tm.t_is_set("onreply_route") < 0 then
		KSR.tm.t_on_reply("ksr_onreply_manage")
	end
	if KSR.is_INVITE() and KSR.tm.t_is_set("failure_route") < 0 then
		KSR.tm.t_on_failure("ksr_failure_manage")
	end
	if KSR.tm.t_relay() < 0 then
		KSR.sl.sl_reply_error()
	end
	KSR.x.exit()
end

-- requests inside a dialog follow the route set that its first request made
local function within_dialog()
	if KSR.siputils.has_totag() < 0 then return end
	if KSR.rr.loose_route() > 0 then
		if not KSR.isdsturiset() then
			KSR.nathelper.handle_ruri_alias()
		end
		if KSR.is_BYE() then
			KSR.setflag(FLT_ACC)
			KSR.setflag(FLT_ACCFAILED)
		elseif KSR.is_NOTIFY() then
			KSR.rr.record_route()
		end
		relay()
	end
	if KSR.is_ACK() then
		if KSR.tm.t_check_trans() > 0 then
			relay()
		end
		KSR.x.exit()
	end
	KSR.sl.sl_send_reply(404, "Not here")
	KSR.x.exit()
end

local function authenticate()
	if not WITH_AUTH then return end
	if not (KSR.is_REGISTER() or KSR.is_myself_furi()) then return end
	local realm = KSR.kx.gete_fhost()
	local password = password_of(KSR.pv.gete("$fU")) or ""
	if password == "" or KSR.auth.pv_auth_check(realm, password, 0, 0) < 0 then
		KSR.auth.auth_challenge(realm, 1)
		KSR.x.exit()
	end
	if not KSR.is_method_in("RP") then
		KSR.auth.consume_credentials()
	end
end

local function register()
	if not KSR.is_REGISTER() then return end
	if KSR.isflagset(FLT_NATS) then
		KSR.setbflag(FLB_NATB)
		KSR.setbflag(FLB_NATSIPPING)
	end
	-- save() answers by itself, refusals included
	KSR.registrar.save("location", 0)
	KSR.x.exit()
end

local function to_location()
	local found = KSR.registrar.lookup("location")
	if found < 0 then
		KSR.tm.t_newtran()
		if found == -2 then
			KSR.sl.send_reply(405, "Method Not Allowed")
		else
			KSR.sl.send_reply(404, "Not Found")
		end
		KSR.x.exit()
	end
	if KSR.is_INVITE() then
		KSR.setflag(FLT_ACC)
	end
	relay()
end

function ksr_request_route()
	request_init()
	detect_nat()
	if KSR.is_CANCEL() then
		if KSR.tm.t_check_trans() > 0 then
			relay()
		end
		return 1
	end
	within_dialog()
	-- retransmissions are answered by their transaction
	if KSR.tmx.t_precheck_trans() > 0 then
		KSR.tm.t_check_trans()
		return 1
	end
	if KSR.tm.t_check_trans() == 0 then
		return 1
	end
	authenticate()
	KSR.hdr.remove("Route")
	if KSR.is_method_in("IS") then
		KSR.rr.record_route()
	end
	-- calls to other domains
	if not KSR.is_myself_ruri() then
		KSR.hdr.append("P-Hint: outbound\r\n")
		relay()
	end
	register()
	if KSR.corex.has_ruri_user() < 0 then
		KSR.sl.sl_send_reply(484, "Address Incomplete")
		return 1
	end
	to_location()
	return 1
end

-- each branch on its way out
function ksr_branch_manage()
	if WITH_NAT and KSR.isbflagset(FLB_NATB) and KSR.siputils.has_totag() < 0 then
		KSR.rr.add_rr_param(";nat=yes")
	end
	return 1
end

-- each reply that belongs to a transaction
function ksr_onreply_manage()
	if WITH_NAT and KSR.is_INVITE() and KSR.nathelper.nat_uac_test(1) > 0 then
		KSR.nathelper.set_contact_alias()
	end
	return 1
end

-- all branches failed
function ksr_failure_manage()
	if KSR.tm.t_is_canceled() > 0 then
		return 1
	end
	return 1
end

-- replies that belong to no transaction as well
function ksr_reply_route()
	if KSR.sanity.sanity_check(17604, 6) < 0 then
		KSR.x.drop()
	end
	return 1
end
